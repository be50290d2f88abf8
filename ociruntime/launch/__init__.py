# SPDX-License-Identifier: Apache-2.0
"""How is a plan carried out, timed and undone?"""
