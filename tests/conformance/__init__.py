# SPDX-License-Identifier: Apache-2.0
"""Does the runtime do what the OCI runtime specification says? Requirement by requirement, and by others' tests.

Imports nothing of `ociruntime`: everything here can be run with RUNTIME=runc or crun.
"""
