#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Fetches the Kamailio package of a Debian release and the sources that it was built
# from, with Debian's patches, unpacks them and prints shell assignments:
#   packaged.sh [SUITE]
#   PACKAGED_KAMAILIO   the server
#   PACKAGED_MODULES    its modules
#   PACKAGED_LIBRARIES  the folder with the libraries that its modules share
#   PACKAGED_SRC        the source tree, not configured
# Without SUITE, the release is that of this machine. Nothing is installed; the server
# runs from the folder where it was unpacked, with the machine's own libraries.

exec 3>&1 1>&2
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/apt.sh"

on_debian || fail "this is not Debian, so its Kamailio package cannot be fetched"

suite=${1:-$(os_release VERSION_CODENAME)}
packaged=$build/packaged/$suite
libraries=$packaged/root/usr/lib/$(dpkg-architecture -q DEB_HOST_MULTIARCH)/kamailio

# download ARCHIVE: fails if the archive does not have the packages or the sources.
download() {
    printf '%s [signed-by=%s target=%s] %s %s main\n' \
        deb "$keyring" Packages "$1" "$suite" deb-src "$keyring" Sources "$1" "$suite" \
        >"$work/sources.list"
    (
        cd "$packaged/download"
        apt-get --config-file="$work/apt.conf" update &&
            apt-get --config-file="$work/apt.conf" download kamailio kamailio-tls-modules &&
            # Without the signature file, which not every archive has.
            apt-get --config-file="$work/apt.conf" source --download-only --tar-only kamailio &&
            apt-get --config-file="$work/apt.conf" source --download-only --diff-only kamailio
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
    echo "E: cannot fetch the packages of $suite from Debian's archive"
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
    tar -xf "$packaged"/download/*.orig.tar.* -C "$packaged/tree" --strip-components=1
    tar -xf "$packaged"/download/*.debian.tar.* -C "$packaged/tree"
    dpkg-source --before-build "$packaged/tree"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
private_apt "$work"
once "$packaged.done" "with Debian's patches" "fetching the Kamailio packages of $suite" unpack

printf '%s=%q\n' >&3 \
    PACKAGED_KAMAILIO "$packaged/root/usr/sbin/kamailio" \
    PACKAGED_MODULES "$libraries/modules" \
    PACKAGED_LIBRARIES "$libraries" \
    PACKAGED_SRC "$packaged/tree"
