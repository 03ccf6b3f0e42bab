#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds the Debian packages for the servers of Debian 12 and 13, in the folder
# PACKAGE_DIR, or one in build/, with the file SHA256SUMS: packages.sh
#
# The package and the sources of each server come from Debian's archive. A package needs
# the C library of the machine that builds it, or a newer one, so a release that is older
# than this machine's is left out.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/apt.sh"

on_debian || fail "this is not Debian, so the servers cannot be fetched from its archive"

declare -A suites=([12]=bookworm [13]=trixie)
here=$(os_release VERSION_ID)
out=${PACKAGE_DIR:-$build/packages}
mkdir -p "$out"
out=$(cd "$out" && pwd)

# Packages of older code do not belong to the checksums.
rm -f "$out"/kamailio-tcp-conn-limit-module_*.deb "$out/SHA256SUMS"
for release in 12 13; do
    if [ "${here:-99}" -gt "$release" ]; then
        say "Debian $release: left out, because this machine's C library is newer; build on Debian 12"
        continue
    fi
    assignments=$("$glue/scripts/packaged.sh" "${suites[$release]}")
    eval "$assignments"
    say "Debian $release:"
    KAMAILIO=$PACKAGED_KAMAILIO KAMAILIO_VERSION="" PACKAGE_DIR=$out \
        "$glue/scripts/package.sh" deb "$PACKAGED_SRC"
done
cd "$out"
[ -n "$(find . -maxdepth 1 -name '*.deb')" ] || fail "no package was built"
sha256sum -- *.deb >SHA256SUMS
say "packages and checksums: $out"
