#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Fetches Kamailio's sources, as Debian carries them, to build/source/ and prints
# where the tree is.
#
# Debian 12 has too old a Kamailio and Debian 13 the right one; hence a private
# configuration of apt, for a suite that the machine itself need not know.
#
# What protects what: apt checks the suite's signature against Debian's keys
# and the tarball against the suite's signed lists. The checksum below, also for
# a tarball that was put into build/download/ by hand, says that it is the one
# this project was made with.

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

# download ARCHIVE: fails if the suite's Kamailio cannot be had there
download() {
    printf 'deb-src [signed-by=%s target=Sources] %s %s main\n' \
        "$keyring" "$1" "$suite" >"$work/sources.list"
    (
        cd "${tarball%/*}"
        apt-get --config-file="$work/apt.conf" update &&
            # only the upstream tarball: its signature file is not everywhere
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
    echo "E: Kamailio $version could not be had from Debian's archive; $instead"
    return 1
}

verify() {
    printf '%s  %s\n' "$sha256" "$tarball" | sha256sum --check --status
}

if [ ! -f "$tarball" ]; then
    if ! on_debian; then
        fail "Kamailio's sources are fetched from Debian's archive, on Debian only; $instead"
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
    fail "kamailio_$version.orig.tar.gz has not the expected checksum and was removed; run this again, or $instead"
fi

rm -rf "$tree"
mkdir -p "$tree"
tar -xzf "$tarball" -C "$tree" --strip-components=1
touch "$tree.done"
printf '%s\n' "$tree"
