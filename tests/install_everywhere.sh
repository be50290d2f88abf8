#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Does `pip install` give a command that works, on systems where nothing has been prepared, and `pip uninstall` leave nothing?
#
#     tests/install_everywhere.sh                 all systems below
#     tests/install_everywhere.sh bookworm        one of them
#
# Each system is a tree of tests/fresh_machine.sh with a clone of HEAD. In it sdist and wheel are built as pip does it, with
# isolation, and installed into a virtual environment, for the whole system and for one user; by uv, if pip can install that.
set -eu

cd "$(dirname "$0")/.."

# The system's name, Debian's suite, which form of the command is expected, and what is done before.
system() {
    case $1 in
    bookworm) suite=bookworm form=snapshot before=: ;;
    trixie) suite=trixie form=snapshot before=: ;;
    # As on a distribution that ships no libpython.a.
    no-archive) suite=trixie form=interpreter before='find /usr/lib -name "libpython3*.a" -delete' ;;
    *) echo "install_everywhere: no such system: $1 (bookworm, trixie, no-archive)" >&2; exit 1 ;;
    esac
}

fail() {
    echo "install_everywhere: $*" >&2
    exit 1
}

# works COMMAND FORM: both by itself and by the launcher, and with a container
works() {
    "$1" --version | grep -q "in an\{0,1\} $2\$" || fail "$1 --version does not say $2: $("$1" --version)"
    "$1" features | grep -q "\"run.ociruntime.form\": \"$2\"" || fail "$1 features does not say $2"
    "$1" --version | grep -q "^libseccomp: 2" || fail "$1 --version does not name libseccomp: $("$1" --version)"
    "$1" help create | grep -q -- --bundle || fail "$1 help does not work"
    "$1" validate /fresh/bundle | grep -q valid || fail "$1 validate does not work"
    said=$("$1" run --bundle /fresh/bundle "install-$$") || fail "$1 run does not work"
    [ "$said" = hello ] || fail "$1 run printed $said"
    if "$1" create --bundle /fresh/wrong "install-$$" 2>/fresh/errors; then fail "a wrong config is accepted"; fi
    grep -q /process/args /fresh/errors || fail "a wrong config is not explained: $(cat /fresh/errors)"
}

# bundles: one that runs, and one that is wrong
bundles() {
    mkdir -p /fresh/bundle/rootfs/bin /fresh/wrong
    cp /bin/busybox /fresh/bundle/rootfs/bin/echo
    python3 - <<'END'
import json
config = {"ociVersion": "1.0.0", "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/echo", "hello"], "cwd": "/"},
          "root": {"path": "rootfs"}, "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]}}
for name, args in (("bundle", config["process"]["args"]), ("wrong", 7)):
    config["process"]["args"] = args
    with open(f"/fresh/{name}/config.json", "w") as file:
        json.dump(config, file)
END
}

# files: all files of the system that an install could leave
files() {
    find /opt /usr /root/.local -name __pycache__ -prune -o ! -type d -print 2>/dev/null | LC_ALL=C sort
}

# try_install COMMAND FORM PIP...: install with the command line PIP..., try, uninstall, compare
try_install() {
    command=$1 form=$2 pip=$3
    shift 3
    echo "-- $pip install $*"
    $pip install -q --no-deps "$@"
    works "$command" "$form"
    $pip uninstall -q -y ${BREAK-} ociruntime
    files >/fresh/after
    diff /fresh/before /fresh/after || fail "pip uninstall has left something"
}

inside() {
    form=$1
    export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
    export PIP_CACHE_DIR=/fresh/cache XDG_CACHE_HOME=/fresh/cache
    bundles
    python3 -m venv /opt/one
    # What the package needs, so that only the package itself is installed and removed below.
    /opt/one/bin/pip install -q cffi jsonschema pyroute2 build
    mkdir -p /root/.local
    cp -r . /fresh/source
    # The build's log says in one line which form it is, and why.
    (cd /fresh/source && /opt/one/bin/python3 -m build --outdir /fresh/dist . >/fresh/log 2>&1) ||
        { tail -20 /fresh/log >&2; fail "the build fails"; }
    grep '^ociruntime: the command is installed as ' /fresh/log || fail "the build does not say what it has built"
    ls -l /fresh/dist
    wheel=$(echo /fresh/dist/*.whl) sdist=$(echo /fresh/dist/*.tar.gz)
    case $form-$wheel in
    snapshot-*-abi3-* | interpreter-*-cp3*-cp3*) fail "the wheel's tag is wrong: $wheel" ;;
    esac
    files >/fresh/before
    try_install /opt/one/bin/ociruntime "$form" /opt/one/bin/pip "$wheel"
    try_install /opt/one/bin/ociruntime "$form" /opt/one/bin/pip "$sdist"
    try_install /opt/one/bin/ociruntime "$form" /opt/one/bin/pip /fresh/source
    BREAK=--break-system-packages
    system="/opt/one/bin/pip --python /usr/bin/python3"
    try_install /usr/local/bin/ociruntime "$form" "$system" $BREAK "$wheel"
    try_install /root/.local/bin/ociruntime "$form" "$system" $BREAK --user "$wheel"
    BREAK=
    # Another prefix than that of the build: what moves is the environment.
    /opt/one/bin/pip install -q --no-deps "$wheel"
    mv /opt/one /opt/two
    ln -s /opt/two/bin /opt/bin
    works /opt/bin/ociruntime "$form"
    mv /opt/two /opt/one
    /opt/one/bin/pip uninstall -q -y ociruntime
    rm /opt/bin
    [ -z "${PIP_CERT-}" ] || export SSL_CERT_FILE="$PIP_CERT"  # uv has a variable of its own
    if /opt/one/bin/pip install -q uv 2>/fresh/log; then
        files >/fresh/before
        echo "-- uv pip install"
        /opt/one/bin/uv pip install -q --python /opt/one/bin/python3 --no-deps /fresh/source ||
            echo "-- uv can't build here (see above)"
        [ ! -e /opt/one/bin/ociruntime ] || works /opt/one/bin/ociruntime "$form"
    else
        echo "-- no uv: $(tail -1 /fresh/log)"
    fi
}

if [ "${1-}" = --inside ]; then
    inside "$2"
    exit 0
fi

[ $# -gt 0 ] || set -- bookworm trixie no-archive
packages="gcc libc6-dev libseccomp-dev python3-dev python3-venv busybox-static ca-certificates python3-cffi-backend python3-jsonschema"
for name in "$@"; do
    system "$name"
    echo "== $name: $form is expected"
    SUITE=$suite tests/fresh_machine.sh \
        "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends $packages >/dev/null" \
        "$before" "sh tests/install_everywhere.sh --inside $form"
done
