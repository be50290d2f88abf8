# SPDX-License-Identifier: Apache-2.0
"""How fast is each operation, beside runc and crun? `python -m tests.perf` prints the tables; docs/evidence/performance.md keeps them."""
