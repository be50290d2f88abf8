# SPDX-License-Identifier: Apache-2.0
"""docker 23 and newer with our own shim (`runtimeType`): the tests of test_docker.py once more.

Debian 12's docker 20.10 can't name a shim; DOCKERD, DOCKER, CONTAINERD and CTR name a newer one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engines.test_docker import (  # noqa: F401 - collected here, with the fixture below
    run,
    sleeper,
    test_another_user_opens_the_streams,
    test_custom_seccomp_profile,
    test_default_confinement,
    test_errors_have_our_reason,
    test_exec,
    test_health,
    test_hostname_and_namespaces_of_the_host,
    test_limits,
    test_mounts,
    test_out_of_memory,
    test_pause,
    test_restart_policy,
    test_run,
    test_security_options,
    test_shared_namespaces,
    test_standard_input,
    test_stats_and_top,
    test_stop_and_kill,
    test_update,
    test_update_limit_after_limit,
)

if TYPE_CHECKING:
    from tests.engines.docker import ShimDocker


@pytest.fixture
def docker(shim_docker: ShimDocker) -> ShimDocker:
    """The docker of this file's tests."""
    return shim_docker
