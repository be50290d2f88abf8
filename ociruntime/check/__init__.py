# SPDX-License-Identifier: Apache-2.0
"""Is a config valid, and does the runtime do all that it asks for?"""
