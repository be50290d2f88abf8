#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Do README's two commands work on a Debian where nothing has been prepared?
#
#     tests/fresh_machine.sh                    run both commands of README.md
#     tests/fresh_machine.sh './try hello'      run these commands instead, each one argument
#
# A debootstrap minbase tree (kept as a tar file in $XDG_CACHE_HOME/ociruntime-fresh) is unpacked, gets a clone of
# HEAD, and is entered in its own mount and PID namespace. A chroot would not do: its / is no mount point, and the
# kernel refuses pivot_root there. Settings of this machine without which nothing can be downloaded are passed on:
# apt's mirror and Acquire options, pip's settings, proxies and certificates. SUITE chooses another Debian.
set -eu

suite=${SUITE:-bookworm}
repository=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ociruntime-fresh

fail() {
    echo "fresh_machine: $*" >&2
    exit 1
}

# The second half of this script, in the new namespaces: $1 is the tree, the rest are the commands.
inside() {
    tree=$1
    shift
    mount --bind "$tree" "$tree"
    mount --rbind /sys "$tree/sys"
    mount --rbind /dev "$tree/dev"
    mount -t proc proc "$tree/proc"
    mount -t tmpfs -o mode=755 tmpfs "$tree/run"
    mount --bind "$cache/archives" "$tree/var/cache/apt/archives"
    # Directories that pip is told to look into.
    while read -r directory; do
        mkdir -p "$tree$directory"
        mount --bind "$directory" "$tree$directory"
        mount -o remount,bind,ro "$tree$directory"
    done <"$tree/fresh/directories"
    cd "$tree"
    pivot_root . mnt
    cd /root/ociruntime
    umount -l /mnt
    for command in "$@"; do
        printf '\n== %s\n' "$command"
        started=$(date +%s)
        status=0
        env -i sh -c '. /fresh/environment; exec sh -c "$1"' sh "$command" </dev/null || status=$?
        printf '== %s: exit %s after %s s\n' "$command" "$status" "$(($(date +%s) - started))"
        [ "$status" = 0 ] || exit "$status"
    done
    exit 0
}

# mirror FILE...: the first URI that apt's sources name for this suite, in either format
mirror() {
    awk -v suite="$suite" '
        FNR == 1 { uri = "" }
        /^[ \t]*#/ { next }
        $1 == "URIs:" { uri = $2 }
        $1 == "Suites:" { for (i = 2; i <= NF; i++) if ($i == suite && uri != "") { print uri; exit } }
        $1 == "deb" { for (i = 2; i < NF; i++) if ($i ~ /^[a-z]+:\/\// && $(i + 1) == suite) { print $i; exit } }
    ' "$@" /dev/null
}

# make_base: the tar file of a minbase tree
make_base() {
    [ -f "$base" ] && return
    command -v debootstrap >/dev/null || fail "debootstrap is missing (apt-get install debootstrap)"
    echo "making $base" >&2
    mkdir "$work/base"
    debootstrap --variant=minbase --cache-dir="$cache/archives" "$suite" "$work/base" "$uri" >"$work/log" 2>&1 ||
        { tail -5 "$work/log" >&2; fail "debootstrap failed"; }
    rm -rf "$work/base/var/cache/apt/archives" "$work/base/var/lib/apt/lists"
    mkdir -p "$work/base/var/cache/apt/archives/partial" "$work/base/var/lib/apt/lists/partial"
    tar -C "$work/base" --numeric-owner -cf "$work/base.tar" .
    mv "$work/base.tar" "$base"
    rm -rf "$work/base"
}

# pass_on_apt: mirror, resolver, and whatever options this machine needs to reach them
pass_on_apt() {
    cp -L /etc/resolv.conf /etc/hosts "$tree/etc/"
    rm -f "$tree/etc/apt/sources.list"
    for source in $sources; do
        [ -z "$(mirror "$source")" ] || cp "$source" "$tree$(echo "$source" | sed 's,/etc/apt/sources.list$,&.d/host.list,')"
    done
    # A suite that this machine does not use.
    [ -n "$(ls "$tree/etc/apt/sources.list.d")" ] ||
        echo "deb $uri $suite main" >"$tree/etc/apt/sources.list"
    grep -lsE '^[[:space:]]*Acquire::' /etc/apt/apt.conf /etc/apt/apt.conf.d/* | while read -r options; do
        cp "$options" "$tree/etc/apt/apt.conf.d/"
    done
    cp -r /etc/apt/auth.conf.d "$tree/etc/apt/" 2>/dev/null || true
}

# pass_on_pip: its settings, the local directories that they name, and the certificates that it trusts
pass_on_pip() {
    mkdir -p "$tree/root/.config/pip"
    [ ! -f /etc/pip.conf ] || cp /etc/pip.conf "$tree/etc/"
    for settings in "$HOME/.pip/pip.conf" "${XDG_CONFIG_HOME:-$HOME/.config}/pip/pip.conf"; do
        [ ! -f "$settings" ] || cp "$settings" "$tree/root/.config/pip/"
    done
    {
        env | sed -n 's/^PIP_[A-Z_]*=//p'
        cat "$tree/etc/pip.conf" "$tree/root/.config/pip/pip.conf" 2>/dev/null || true
    } | tr ' =' '\n\n' | sed -n 's|^\(file://\)\{0,1\}\(/[^:]*\)$|\2|p' | while read -r path; do
        # An index is bound with its parent, where the files are that its links (../../files/...) point to.
        case $path in */simple | */simple/) path=$(dirname "$path") ;; esac
        [ ! -d "$path" ] || echo "$path"
    done | sort -u >"$tree/fresh/directories"

    bundle=${PIP_CERT:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}
    {
        echo "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb"
        # Not the variables that name a file: the certificates are at another place inside.
        env | grep -E '^(PIP_[A-Z_]*|[a-z]*_proxy|[A-Z]*_PROXY)=' | grep -v '^PIP_CERT=' |
            sed "s/'/'\\\\''/g; s/=/='/; s/\$/'/; s/^/export /"
        if [ -f "$bundle" ]; then
            # Beside the system's own bundle, which the package ca-certificates will write anew.
            cp "$bundle" "$tree/fresh/certificates.pem"
            echo "export PIP_CERT=/fresh/certificates.pem"
        fi
    } >"$tree/fresh/environment"
}

if [ "${1-}" = --inside ]; then
    shift
    inside "$@"
fi

[ "$(id -u)" = 0 ] || fail "must be root"
sources=$(find /etc/apt/sources.list /etc/apt/sources.list.d -name '*.list' -o -name '*.sources' 2>/dev/null | sort)
# shellcheck disable=SC2086
uri=$(mirror $sources)
uri=${uri:-http://deb.debian.org/debian}
base=$cache/$suite-$(dpkg --print-architecture).tar
mkdir -p "$cache/archives/partial"
work=$(mktemp -d "$cache/run.XXXXXX")
# The mounts vanish with their namespace, so that this removes nothing but the tree.
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

if [ $# = 0 ]; then
    # What README tells a newcomer to type; there is no sudo in minbase, and no need of it.
    first=$(sed -n 's|^ *\(sudo \)\{0,1\}\(\./try[^#]*\).*|\2|p' "$repository/README.md" | head -1)
    second=$(sed -n 's|^ *\(sudo \)\{0,1\}\(\./check[^#]*\).*|\2|p' "$repository/README.md" | head -1)
    [ -n "$first" ] && [ -n "$second" ] || fail "README.md does not show ./try and ./check"
    set -- "$first" "$second"
fi

make_base
tree=$work/tree
mkdir "$tree"
tar -C "$tree" --numeric-owner -xf "$base"
mkdir "$tree/fresh"
git clone -q "$repository" "$tree/root/ociruntime"
pass_on_apt
pass_on_pip
cache=$cache unshare -mpf --kill-child --propagation private sh "$0" --inside "$tree" "$@"
