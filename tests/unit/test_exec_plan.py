# SPDX-License-Identifier: Apache-2.0
"""exec_plan: the order of exec, by the words of its steps."""

from __future__ import annotations

from typing import Any

from ociruntime.config import Node
from ociruntime.host import Host
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.native.encode import encode
from ociruntime.operations.exec_document import Request, with_process
from ociruntime.plan import exec_order
from ociruntime.plan.entering import Target
from ociruntime.step import HostStep, Plan
from tests.harness.configuration import default_config, with_namespace, with_users, without_namespace

HOST = Host(Layout("none"), cpus=4, apparmor=True, selinux=True)
V1 = {"cpu": "/c/cpu/x", "cpuacct": "/c/cpu/x", "pids": "/c/pids/x", "": "/c/unified/x"}
V2 = {"": "/c/x"}
_THREE = "CAP_KILL CAP_NET_BIND_SERVICE CAP_AUDIT_WRITE"


def plan(
    config: dict[str, Any], cgroups: dict[str, str], request: Request | None = None, **options: Any
) -> Plan:
    """The plan of exec in a container of this config."""
    whole = with_process(Node(config), request or Request(["true"]))
    return exec_order.make(whole, HOST, Target(7, 99, "/rootfs", cgroups), exec_order.Options(**options))


def words(made: Plan) -> list[str]:
    """Its steps as people see them."""
    return [f"{step.where} {step.describe()}" for step in made.steps]


def test_the_whole_order() -> None:
    """Pidfd, cgroups, one setns, fork; then root, directory, limits, user, the last stop, and the program."""
    config = default_config()
    config["process"]["oomScoreAdj"] = 5
    made = plan(config, V1, keyring="_ses.x", pid_file="/run/pid")
    assert words(made) == [
        "host open init a pidfd of the container's init",
        "host open cgroup what the process needs to join it",
        "host clone helper a process that enters the container",
        "init join cgroup /c/cpu/x (cpu, cpuacct)",
        "init join cgroup /c/pids/x (pids)",
        "init reset CPU affinity all that are allowed",
        "init join namespaces network, ipc, uts, pid, mount",
        "init fork the process",
        "init setsid a session without a terminal",
        "init join session keyring _ses.x",
        "init open root /",
        "init chdir /",
        "init umask as the caller's",
        "init groups none",
        "sync sync limits: the user is still root: limits and priorities",
        "host set oom_score_adj 5",
        "host set rlimit RLIMIT_NOFILE soft 1024 hard 1024",
        f"init bounding {_THREE}",
        "init user uid 0 gid 0",
        f"init capabilities effective: {_THREE}; permitted: {_THREE}; inheritable: none; ambient: none",
        "init find program true",
        "sync sync entered: it runs as its user in the container, and has found its program",
        "host commit write pid file /run/pid",
        "init no new privs",
        "init close descriptors all from 3 on",
        "init exec true",
    ]
    encode(made.init_steps(), made.slots, 3)
    assert made.forks()
    assert made.start_index() == len(made.steps)


def test_pointers_lead_to_the_process() -> None:
    """Each step that a property of the process causes names it."""
    made = plan(default_config(), V2)
    pointers = {step.name: step.pointer for step in made.steps if step.pointer}
    assert pointers["chdir"] == "/process/cwd"
    assert pointers["user"] == "/process/user"
    assert pointers["find program"] == "/process/args/0"
    assert pointers["exec"] == "/process/args"
    assert pointers["join namespaces"] == "/linux/namespaces"


def opened(made: Plan) -> object:
    """What the step "open cgroup" opens."""
    return next(step.args for step in made.steps if isinstance(step, HostStep) and step.name == "open cgroup")


def test_cgroup_of_version_2() -> None:
    """The helper is born in it: there is no step of its own."""
    made = plan(default_config(), V2)
    assert opened(made) == {"slots": {"cgroup2": "/c/x"}}
    assert not any(step.name == "join cgroup" for step in made.steps)


def test_no_cgroup_at_all() -> None:
    """A container that was made without one."""
    assert not any("cgroup" in step.name for step in plan(default_config(), {}).steps)


def test_affinity() -> None:
    """R060, R061: initial, cgroups, final; with `initial` nothing is born in its cgroup."""
    config = default_config()
    config["process"]["execCPUAffinity"] = {"initial": "0-2,5", "final": "1"}
    made = plan(config, V2)
    names = [f"{step.name} {step.text}" for step in made.steps]
    order = (
        names.index("set CPU affinity 0-2,5"),
        names.index("join cgroup /c/x (unified)"),
        names.index("set CPU affinity 1"),
    )
    assert sorted(order) == list(order)
    assert order[2] < next(index for index, name in enumerate(names) if name.startswith("join namespaces"))
    assert not any("reset" in name for name in names)
    assert opened(made) == {"slots": {"cgroup2 procs": "/c/x/cgroup.procs"}}


def test_only_final_affinity() -> None:
    """R061: then the process is born in its cgroup as ever."""
    config = default_config()
    config["process"]["execCPUAffinity"] = {"final": "1"}
    assert opened(plan(config, V2)) == {"slots": {"cgroup2": "/c/x"}}


def test_only_initial_affinity() -> None:
    """R061: without `final` nothing is changed after the cgroup is entered."""
    config = default_config()
    config["process"]["execCPUAffinity"] = {"initial": "1"}
    told = words(plan(config, V2))
    assert [line for line in told if "affinity" in line] == ["init set CPU affinity 1"]


def test_everything_that_confines_the_container() -> None:
    """Labels, scheduler, I/O priority, memory policy, personality and RDT group are the container's own."""
    config = default_config()
    config["process"].update(
        apparmorProfile="p",
        selinuxLabel="a:b:c:d",
        scheduler={"policy": "SCHED_BATCH", "nice": 3},
        ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 4},
    )
    config["linux"].update(
        personality={"domain": "LINUX32"},
        memoryPolicy={"mode": "MPOL_BIND", "nodes": "0"},
        intelRdt={"closID": "x"},
    )
    told = words(plan(config, V2, keyring="_ses.x"))
    wanted = ("label session keyring", "set AppArmor profile", "set SELinux label", "open root", "set memory policy",
              "set personality", "set scheduler", "set I/O priority", "user")  # fmt: skip
    order = [
        next(index for index, line in enumerate(told) if line.split(" ", 1)[1].startswith(name))
        for name in wanted
    ]
    assert order == sorted(order)


def test_filter() -> None:
    """The container's filter is compiled first and loaded last; an agent hears of it."""
    config = default_config()
    config["process"]["noNewPrivileges"] = False
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": "/agent",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
    }
    told = words(plan(config, V2))
    assert told[0] == "host compile seccomp filter SCMP_ACT_ALLOW and 1 rule"
    assert [line.partition(" ")[2].partition(" SPEC")[0] for line in told[-4:]] == [
        "load seccomp filter",
        "sync listener: the filter waits for its agent",
        "send seccomp listener to /agent",
        "exec true",
    ]
    assert any("(with CAP_SYS_ADMIN until exec)" in line for line in told)


def test_terminal() -> None:
    """Of the container's devpts, for the session's leader; its other end leaves at the last stop, before the pid file."""
    request = Request(["sh"], tty=True)
    made = plan(default_config(), V2, request, console_socket="/s", pidfd_socket="/p", pid_file="/f")
    told = words(made)
    assert told[:2] == ["host connect console socket /s", "host connect pidfd socket /p"]
    place = told.index("init open terminal of /dev/pts")
    assert (
        told.index("init setsid a session without a terminal") < place < told.index("init user uid 0 gid 0")
    )
    stop = next(index for index, line in enumerate(told) if line.startswith("sync sync entered"))
    assert told[stop + 1 : stop + 4] == [
        "host send terminal to the console socket",
        "host send pidfd of init to the pidfd socket",
        "host commit write pid file /f",
    ]
    assert not any("/dev/console" in line for line in told)


def test_streams() -> None:
    """A user other than root gets them, before it is that user and while there is every capability; not with a terminal."""
    told = words(plan(default_config(), V2, Request(["sh"], user="7")))
    place = told.index("init give streams 0, 1 and 2 to uid 7")
    assert told[place - 1].startswith("init bounding ")
    assert told[place + 1] == "init user uid 7 gid 0"
    for request in (Request(["sh"]), Request(["sh"], user="7", tty=True)):
        assert not any("give streams" in line for line in words(plan(default_config(), V2, request)))


def test_paused() -> None:
    """In a frozen cgroup2 cgroup the clone would never come to its exec: it enters by a step."""
    assert opened(plan(default_config(), V2, move=True)) == {"slots": {"cgroup2 procs": "/c/x/cgroup.procs"}}


def test_without_a_mount_namespace() -> None:
    """The root is opened by its path and becomes the process's "/"."""
    config = default_config()
    without_namespace(config, "mount")
    told = words(plan(config, V2))
    assert told[told.index("init open root /rootfs") + 1] == "init chroot"
    assert "init join namespaces network, ipc, uts, pid" in told


def test_without_any_namespace() -> None:
    """Nothing to enter; the process is forked anyway."""
    config = default_config()
    config["linux"]["namespaces"] = []
    told = words(plan(config, V2))
    assert not any("join namespaces" in line for line in told)
    assert "init fork the process" in told


def test_cgroup_namespace_is_joined_too() -> None:
    """Whatever the container lists, new or by path, init is in it."""
    config = default_config()
    with_namespace(config, "cgroup")
    with_namespace(config, "network", "/run/netns/x")
    assert "init join namespaces network, ipc, uts, cgroup, pid, mount" in words(plan(config, V2))


def test_preserved_descriptors() -> None:
    """They are below the first one that is closed."""
    assert "init close descriptors all from 5 on" in words(plan(default_config(), V2, preserve_fds=2))


def test_user_namespace() -> None:
    """It leaves the host's root at once: its keyring, and all that it opens, is of the container's root, or of its user."""
    config = default_config()
    with_users(config)
    made = plan(config, V1, keyring="_ses.x")
    told = words(made)
    place = told.index("init fork the process")
    assert told[place - 1].endswith(" network, ipc, uts, pid, mount, user")
    assert told[place + 1 : place + 5] == [
        "init leave groups those of the caller",
        "init become root of the user namespace uid 0 gid 0",
        "init setsid a session without a terminal",
        "init join session keyring _ses.x",
    ]
    encode(made.init_steps(), made.slots, 3)
    with_users(config, (1000, 100000, 10))
    config["process"]["user"] = {"uid": 1001, "gid": 1002}
    assert "init become user of the user namespace uid 1001 gid 1002" in words(plan(config, V1))


def test_time_namespace() -> None:
    """It is entered with the others, and its offsets stay as they are."""
    config = default_config()
    with_namespace(config, "time")
    config["linux"]["timeOffsets"] = {"boottime": {"secs": 5}}
    told = words(plan(config, V2))
    assert "init join namespaces network, ipc, uts, pid, time, mount" in told
    assert not any("offsets" in line for line in told)
