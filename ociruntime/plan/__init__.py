# SPDX-License-Identifier: Apache-2.0
"""Which steps make a container, or one more process in it, and in which order?"""
