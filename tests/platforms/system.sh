# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A separate Debian system in a temporary folder, which debootstrap creates. Sourced, after
# common.sh and apt.sh, by a script that sets `suite`. Sets `work` and `system`, which are
# removed when the script ends.

# `system` is for those who source this.
# shellcheck disable=SC2034
{
    work=$(mktemp -d)
    system=$work/system
    modules=/usr/lib/$(dpkg-architecture -q DEB_HOST_MULTIARCH)/kamailio/modules
}
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

[ "$(id -u)" -eq 0 ] || fail "creating a separate system needs root: run this as root"
on_debian || fail "this is not Debian, so the packages cannot be fetched from its archive"

# apart [OPTION...] COMMAND...: runs COMMAND with its own mounts and processes, which
# end with it.
apart() {
    unshare --mount-proc --pid --fork --kill-child "$@"
}

in_system() {
    apart chroot "$system" env DEBIAN_FRONTEND=noninteractive "$@"
}

# Installs the system, through the machine's own proxies and archives.
bootstrap() {
    local archive
    eval "$(apt-config shell http_proxy Acquire::http::Proxy)"
    eval "$(apt-config shell https_proxy Acquire::https::Proxy)"
    export http_proxy https_proxy
    for archive in $(archives); do
        echo "== $archive"
        rm -rf "$system"
        if apart debootstrap --variant=minbase --include=ca-certificates \
            --keyring="$keyring" "$suite" "$system" "$archive"; then
            write_settings "$archive"
            return
        fi
    done
    echo "E: cannot install $suite from Debian's archive"
    return 1
}

write_settings() {
    printf 'deb %s %s main\ndeb-src %s %s main\n' "$1" "$suite" "$1" "$suite" \
        >"$system/etc/apt/sources.list"
    apt-config dump | grep -Ei '^Acquire::https?::Proxy ' >"$system/etc/apt/apt.conf.d/proxy" || true
    # A mirror of sid can be older than its Release file allows; signatures are checked.
    echo 'Acquire::Check-Valid-Until "false";' >"$system/etc/apt/apt.conf.d/old-mirror"
    # The system is temporary, so it need not survive a power failure.
    echo force-unsafe-io >"$system/etc/dpkg/dpkg.cfg.d/unsafe-io"
    # Start no service.
    printf '#!/bin/sh\nexit 101\n' >"$system/usr/sbin/policy-rc.d"
    chmod 755 "$system/usr/sbin/policy-rc.d"
}

# install_in_system PACKAGE...
install_in_system() {
    in_system apt-get update
    in_system apt-get install --yes --no-install-recommends "$@"
}
