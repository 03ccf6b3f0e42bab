#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The behavioural tests with the packaged server of a Debian release:
#   distributions.sh SUITE [TEST...]
# apt installs the server in a separate system, which is created for this and removed
# afterwards. The module's own package is built for the sources of that server and
# installed there by apt. TEST is part of a test's name; without it, all tests run that do
# not need a server with hooks.
#
# If the archive does not have the sources of the package, as sometimes in sid, they are
# those in KAMAILIO_SRC. A tree of another version of the same series gets the server's
# number, in a copy, because there is nothing nearer to test with. Such a module is only
# for this test: another server's structures may differ.

source "$(dirname "${BASH_SOURCE[0]}")/../../kamailio-glue/scripts/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../../kamailio-glue/scripts/apt.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../../kamailio-glue/scripts/tree.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../../kamailio-glue/scripts/fit.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../support/test_binary.sh"

suite=$1
shift
source "$(dirname "${BASH_SOURCE[0]}")/system.sh"
tests=("$@")
if [ ${#tests[@]} -eq 0 ]; then
    tests=(
        interposed::
        alone::copies_that_workers_close_do_not_count
        alone::level_triggered_poll_methods_work
        alone::sockets_of_other_modules_are_not_limited
    )
fi

# netbase: the server looks up the number of TCP in /etc/protocols. The tests need iproute2,
# jq and sip-tester.
packages=(iproute2 jq kamailio kamailio-tls-modules netbase sip-tester)
logs=$build/distributions
tree=$logs/kamailio-$suite

# Without the signature file, which not every archive has.
fetch_sources() {
    in_system apt-get source --download-only --tar-only kamailio &&
        in_system apt-get source --download-only --diff-only kamailio
}

unpack_sources() {
    rm -rf "$tree"
    mkdir -p "$tree"
    tar -xf "$system"/kamailio_*.orig.tar.* -C "$tree" --strip-components=1
    tar -xf "$system"/kamailio_*.debian.tar.* -C "$tree"
    dpkg-source --before-build "$tree"
}

# Gives the copy of a tree the server's number, for make and for CMake.
renumber() {
    local version=$1 major minor patch
    IFS=. read -r major minor patch <<<"$version"
    sed -i -e "s/^\(VERSION\)[ \t]*=.*/\1 = $major/" -e "s/^\(PATCHLEVEL\)[ \t]*=.*/\1 = $minor/" \
        -e "s/^\(SUBLEVEL\)[ \t]*=.*/\1 = $patch/" -e "s/^\(EXTRAVERSION\)[ \t]*=.*/\1 =/" "$tree/src/Makefile.defs"
    if has_cmake "$tree"; then
        sed -i -e "s/^\( *VERSION\) [0-9.]*/\1 $version/" -e 's/^set(EXTRAVERSION .*/set(EXTRAVERSION "")/' \
            "$tree/CMakeLists.txt"
    fi
}

# Takes the sources from KAMAILIO_SRC. Says how near they are.
nearest_sources() {
    local version given
    version=$(number_of "$(server_strings "$system/usr/sbin/kamailio")")
    if [ -z "${KAMAILIO_SRC-}" ]; then
        say "SKIPPED: $suite has the package of Kamailio $version, but not its sources: set KAMAILIO_SRC to the source tree of Kamailio $version, or to a tree of ${version%.*}, the nearer the better"
        exit
    fi
    given=$(tree_path "$KAMAILIO_SRC")
    if [ "$(tree_version "$given" | cut -d . -f 1,2)" != "${version%.*}" ]; then
        fail "$suite has Kamailio $version, but not its sources, and $given is the source tree of $(tree_version "$given"): KAMAILIO_SRC must be a tree of ${version%.*}"
    fi
    rm -rf "$tree"
    mkdir -p "$tree"
    tar -C "$given" --exclude=.git --exclude=CMakeCache.txt --exclude=config.mak -cf - . | tar -C "$tree" -xf -
    if [ "$(tree_version "$given")" = "$version" ]; then
        say "$suite: with the sources of $version in $given"
    else
        say "$suite: NOT WITH THE SERVER'S SOURCES: those of $(tree_version "$given") in $given, with the number $version"
        renumber "$version"
    fi
}

# Installs our package from a folder that also has one for an older server, as after an
# upgrade.
install_package() {
    local version package
    # shellcheck disable=SC2016 # dpkg-query expands it.
    version=$(in_system dpkg-query --show --showformat='${Version}' kamailio)
    mkdir "$system/packages"
    KAMAILIO=$system/usr/sbin/kamailio KAMAILIO_VERSION=$version PACKAGE_DIR=$system/packages \
        make -C "$root" package-deb KAMAILIO_SRC="$tree"
    package=$(basename "$system"/packages/*.deb)
    KAMAILIO=$system/usr/sbin/kamailio KAMAILIO_VERSION=0.1-1 PACKAGE_DIR=$system/packages \
        make -C "$root" package-deb KAMAILIO_SRC="$tree"
    in_system apt-get install --yes --no-install-recommends kamailio "/packages/$package"
    in_system dpkg --verify kamailio-tcp-conn-limit-module
    [ -f "$system$modules/tcp_conn_limit.so" ]
}

# The tests find their files by their paths on this machine. They run in their own
# network namespace, in which no other process takes free ports.
run_in_system() {
    local binary=$1
    shift
    install -D "$binary" "$system/tests/kamailio"
    mkdir -p "$system$root"
    # shellcheck disable=SC2016 # The other shell expands it.
    apart --net sh -c '
        system=$1 root=$2
        shift 2
        mount --types proc proc "$system/proc" &&
            mount --bind "$root" "$system$root" &&
            mount --options remount,bind,ro "$system$root" &&
            chroot "$system" ip link set lo up &&
            chroot "$system" env "$@"
        exit $?' sh "$system" "$root" \
        --unset=TMPDIR \
        STOCK_KAMAILIO=/usr/sbin/kamailio HOOKED_KAMAILIO=/usr/sbin/kamailio \
        MODULE_PATH="$modules" STOCK_MODULE_PATH="$modules" KAMCMD=/usr/sbin/kamcmd \
        /tests/kamailio "$@"
}

binary=$(test_binary)
say "$suite: creating a system ..."
logged "$logs/$suite-system.log" "creating a system of $suite" bootstrap
say "$suite: installing the server ..."
logged "$logs/$suite-install.log" "installing the server of $suite" install_in_system "${packages[@]}"
if fetch_sources >"$logs/$suite-sources.log" 2>&1; then
    logged "$logs/$suite-unpacked.log" "unpacking the server's sources" unpack_sources
else
    nearest_sources
fi
logged "$logs/$suite-module.log" "building and installing the module for $suite" install_package
say "$suite: testing with the packages $(in_system dpkg-query --show kamailio kamailio-tcp-conn-limit-module | paste -sd ' ' | tr '\t' ' ')"
run_in_system "$binary" "${tests[@]}"
