# SPDX-License-Identifier: Apache-2.0
"""What does each operation do with a container? One file each; none imports a verb."""
