#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Fetches the Kamailio that this machine's Debian has as a package, and the sources
# that it was built from, and prints as shell assignments where they are, unpacked:
#   PACKAGED_KAMAILIO   the server
#   PACKAGED_MODULES    its modules
#   PACKAGED_LIBRARIES  the folder of the libraries that its modules share
#   PACKAGED_SRC        the source tree, configured
# Nothing is installed; the server runs from where it was unpacked, with the
# machine's own libraries.

exec 3>&1 1>&2
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/apt.sh"

on_debian || fail "a packaged Kamailio is fetched from Debian's archive, on Debian only"

packaged=$build/packaged
suite=$(os_release VERSION_CODENAME)
libraries=$packaged/root/usr/lib/$(dpkg-architecture -q DEB_HOST_MULTIARCH)/kamailio

# download ARCHIVE: fails if the packages or the sources cannot be had there
download() {
    printf '%s [signed-by=%s target=%s] %s %s main\n' \
        deb "$keyring" Packages "$1" "$suite" deb-src "$keyring" Sources "$1" "$suite" \
        >"$work/sources.list"
    (
        cd "$packaged/download"
        apt-get --config-file="$work/apt.conf" update &&
            apt-get --config-file="$work/apt.conf" download kamailio kamailio-tls-modules &&
            # without the signature file, which is not everywhere
            apt-get --config-file="$work/apt.conf" source --download-only --tar-only kamailio
    )
}

fetch() {
    local archive
    for archive in $(archives); do
        echo "== $archive"
        if download "$archive"; then
            return
        fi
    done
    echo "E: the packages of $suite could not be had from Debian's archive"
    return 1
}

unpack() {
    local package
    rm -rf "$packaged"
    mkdir -p "$packaged/download" "$packaged/tree"
    fetch
    for package in "$packaged"/download/*.deb; do
        dpkg-deb --extract "$package" "$packaged/root"
    done
    tar -xzf "$packaged"/download/*.orig.tar.gz -C "$packaged/tree" --strip-components=1
    make -C "$packaged/tree/src" cfg
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
private_apt "$work"
once "$build/packaged.done" "$suite" "fetching Kamailio as $suite has it in packages" unpack

printf '%s=%q\n' >&3 \
    PACKAGED_KAMAILIO "$packaged/root/usr/sbin/kamailio" \
    PACKAGED_MODULES "$libraries/modules" \
    PACKAGED_LIBRARIES "$libraries" \
    PACKAGED_SRC "$packaged/tree"
