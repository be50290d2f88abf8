# SPDX-License-Identifier: Apache-2.0
"""How does a command stay in front of its program: terminal, streams, signals, readiness?"""
