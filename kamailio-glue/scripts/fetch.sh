#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Fetches Kamailio's sources from Debian's archive to build/source/ and prints
# the path of the tree.
#
# Debian 12 has too old a Kamailio and Debian 13 the right one; hence a private
# apt configuration, for a suite that need not be in the machine's own.
#
# apt checks the suite's signature against Debian's keys and the tarball against
# the suite's signed lists. The checksum below verifies that the tarball is the
# one that this project was made with, also if it was put into build/download/ by
# hand.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/apt.sh"

suite=trixie
version=6.0.1
sha256=8c1d61b4c14706dc2748d37b1ad4055397276205a94e0bd70e39fd98c4753d01

tree=$build/source/kamailio-$version
tarball=$build/download/kamailio_$version.orig.tar.gz
instead="set KAMAILIO_SRC to a Kamailio source tree, or put kamailio_$version.orig.tar.gz into build/download/"

if [ -f "$tree.done" ]; then
    printf '%s\n' "$tree"
    exit
fi

# download ARCHIVE: fails if the archive does not have the suite's Kamailio.
download() {
    printf 'deb-src [signed-by=%s target=Sources] %s %s main\n' \
        "$keyring" "$1" "$suite" >"$work/sources.list"
    (
        cd "${tarball%/*}"
        apt-get --config-file="$work/apt.conf" update &&
            # Only the upstream tarball, since not every archive has its signature file.
            apt-get --config-file="$work/apt.conf" source --download-only --tar-only kamailio
    )
}

download_from_any() {
    local archive
    for archive in $(archives); do
        echo "== $archive"
        if download "$archive" && [ -f "$tarball" ]; then
            return
        fi
    done
    echo "E: cannot fetch Kamailio $version from Debian's archive; $instead"
    return 1
}

verify() {
    printf '%s  %s\n' "$sha256" "$tarball" | sha256sum --check --status
}

if [ ! -f "$tarball" ]; then
    if ! on_debian; then
        fail "this is not Debian, so Kamailio's sources cannot be fetched from its archive; $instead"
    fi
    say "[1/5] fetching kamailio_$version.orig.tar.gz from Debian's archive ..."
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    private_apt "$work"
    mkdir -p "${tarball%/*}"
    logged "$build/download/fetch.log" "fetching Kamailio's sources" download_from_any
fi

if ! verify; then
    rm "$tarball"
    fail "kamailio_$version.orig.tar.gz does not have the expected checksum and was removed; run this again, or $instead"
fi

rm -rf "$tree"
mkdir -p "$tree"
tar -xzf "$tarball" -C "$tree" --strip-components=1
touch "$tree.done"
printf '%s\n' "$tree"
