# SPDX-License-Identifier: Apache-2.0
"""What does the runtime support, and what can a process in a container observe?"""
