# SPDX-License-Identifier: Apache-2.0
"""Where does a peer not do what a requirement says? Said on the test, which then must fail under that peer.

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import pytest

from tests.harness.driver import runtime_under_test


def departs(*, runc: str = "", crun: str = "", both: str = "") -> pytest.MarkDecorator:
    """The test is expected to fail with RUNTIME=runc or crun, for the reason that is given; never with ours."""
    reasons = {"runc": runc or both, "crun": crun or both}
    reason = reasons.get(runtime_under_test(), "")
    return pytest.mark.xfail(bool(reason), reason=reason, strict=True)
