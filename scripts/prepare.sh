# SPDX-License-Identifier: Apache-2.0
# Sourced by ./try and ./check: what does this machine lack, and how does it get there?
# Everything is done once; a second call finds it done and takes a tenth of a second.
# shellcheck shell=sh

# Ubuntu and Debian use the same names. pip needs ca-certificates to trust its index.
BUILD_PACKAGES="python3 python3-venv python3-dev gcc libc6-dev ca-certificates"

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# installed PACKAGE: true if dpkg has it completely
installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# missing PACKAGE...: those that are not installed
missing() {
    for package in "$@"; do
        installed "$package" || printf '%s ' "$package"
    done
}

# need_packages PACKAGE...: install what is missing, or say which
need_packages() {
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        echo "$(basename "$0"): not a Debian or Ubuntu machine; going on as if this were installed: $*" >&2
        return
    fi
    lacking=$(missing "$@")
    [ -n "$lacking" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        fail "these packages are missing: $lacking (run this with sudo, or: sudo apt-get install $lacking)"
    fi
    echo "installing: $lacking" >&2
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    # A failing update is no reason to stop: an old index may still do.
    apt-get -qq -o DPkg::Lock::Timeout=300 update </dev/null >"$log" 2>&1 || true
    # shellcheck disable=SC2086
    apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install --no-install-recommends $lacking \
        </dev/null >>"$log" 2>&1 || true
    lacking=$(missing "$@")
    [ -z "$lacking" ] || tail -n 20 "$log" >&2
    rm -f "$log"
    [ -z "$lacking" ] || fail "these packages are missing and apt-get could not install them: $lacking"
}

# make_venv: .venv of the system's own interpreter
make_venv() {
    python=/usr/bin/python3
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "$python is not there or older than 3.11"
    # A copied or moved tree has a .venv that points elsewhere, and an upgraded system one of the old version.
    wanted="$PWD $("$python" -c 'import sys; print(sys.version)')"
    if [ "$(cat .venv/made-for 2>/dev/null)" != "$wanted" ]; then
        echo "making .venv" >&2
        rm -rf .venv
        "$python" -m venv .venv || fail "python3 -m venv failed (see above)"
        echo "$wanted" >.venv/made-for
    fi
}

# fingerprint: a hash of everything that an editable install copies, compiles or generates from
fingerprint() {
    find pyproject.toml setup.cfg launcher specs ociruntime/native ociruntime/check/schema_compiler.py \
        -name __pycache__ -prune -o -type f ! -name '*.so' ! -name ociruntime-init ! -name _seccomp.py -exec sha256sum {} + |
        LC_ALL=C sort | sha256sum | cut -c1-64
}

# install_project EXTRAS: build the C part and install the package and what it needs into .venv
# EXTRAS is "" or "[test]"; an install with more extras also serves for one with fewer
install_project() {
    now=$(fingerprint)
    done_before=$(cat .venv/installed 2>/dev/null) || done_before=
    case $done_before in
    "$now$1"*) return 0 ;;
    *"[test]") extras="[test]" ;;
    *) extras=$1 ;;
    esac
    echo "building ociruntime and installing it into .venv" >&2
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
        .venv/bin/python3 -m pip install -qq --no-input -e ".$extras" </dev/null >&2 ||
        fail "pip could not install ociruntime (see above)"
    echo "$now$extras" >.venv/installed
}
