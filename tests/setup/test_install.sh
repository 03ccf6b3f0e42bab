#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The module for a user's own tree: build, install, load, uninstall.

source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

stock=${STOCK_KAMAILIO%/src/kamailio}
hooked=${HOOKED_KAMAILIO%/src/kamailio}

files_below() {
    find "$1" -type f | sort
}

test_installed_module_finds_its_library() {
    local modules
    files_below "$hooked" >before
    project module KAMAILIO_SRC="$hooked"
    project install KAMAILIO_SRC="$hooked" DESTDIR="$PWD/dest"
    files_below "$hooked" | diff before - # Nothing is written to the tree.

    modules=$(dirname "$(find dest -name tcp_conn_limit.so)")
    [ "$modules" = dest/usr/local/lib64/kamailio/modules ]
    says "$PWD/$modules/$library" ldd "$modules/tcp_conn_limit.so"
    loads "$HOOKED_KAMAILIO" "$PWD/$modules"
    says "usage:" "$modules/tcp_conn_limit-top" --help

    project uninstall KAMAILIO_SRC="$hooked" DESTDIR="$PWD/dest"
    [ -z "$(files_below dest)" ]
    says "not installed" project uninstall KAMAILIO_SRC="$hooked" DESTDIR="$PWD/dest"
}

test_modules_dir_sets_the_folder() {
    project module KAMAILIO_SRC="$hooked"
    project install KAMAILIO_SRC="$hooked" DESTDIR="$PWD" MODULES_DIR=/opt/modules
    loads "$HOOKED_KAMAILIO" "$PWD/opt/modules"
}

test_module_for_a_tree_without_hooks_interposes() {
    files_below "$stock" >before
    says 'attach "interpose"' project module KAMAILIO_SRC="$stock"
    files_below "$stock" | diff before -
    project install KAMAILIO_SRC="$stock" DESTDIR="$PWD" MODULES_DIR=/modules
    loads "$HOOKED_KAMAILIO" "$PWD/modules"
}

# asks_for_hooks MODULE: succeeds if MODULE was built with the hooks.
asks_for_hooks() {
    nm --dynamic --undefined-only --format=just-symbols "$1" >wanted
    grep -qx ksr_tcp_conn_hooks_register wanted
}

# Neither the configuration nor the module changes between the builds.
test_module_is_rebuilt_when_hooks_come_or_go() {
    local module=modules/tcp_conn_limit.so
    cp -a "$stock" tree
    export KAMAILIO_SRC=$PWD/tree DESTDIR=$PWD MODULES_DIR=/modules
    project module install
    if asks_for_hooks "$module"; then
        return 1
    fi
    project patch
    # As if unpacked from an archive: no file is newer than the objects.
    find tree -newer "$stock/src/config.mak" -exec touch -r "$stock/src/config.mak" {} +
    says "with the connection hooks" project module
    project install
    asks_for_hooks "$module"
    project unpatch
    says 'attach "interpose"' project module
    project install
    if asks_for_hooks "$module"; then
        return 1
    fi
}

test_hooks_of_another_abi_are_refused() {
    cp -a "$hooked" tree
    sed -i 's/^\(#define KSR_TCP_CONN_HOOKS_ABI\).*/\1 99/' tree/src/core/tcp_conn_hooks.h
    refused "ABI 99" project module KAMAILIO_SRC="$PWD/tree"
}

test_unconfigured_tree_is_refused() {
    mkdir -p tree/src/core
    cp "$hooked/src/Makefile.defs" tree/src/
    cp "$hooked"/src/core/tcp_{main,conn_hooks}.[ch] tree/src/core/
    refused "is not configured: run 'make -C $PWD/tree/src cfg'" project module KAMAILIO_SRC="$PWD/tree"
    refused "not built yet" project install KAMAILIO_SRC="$PWD/tree"
    refused "is not configured" project uninstall KAMAILIO_SRC="$PWD/tree"
}

test_install_without_build_is_refused() {
    cp -a "$hooked" tree
    refused "not built yet" project install KAMAILIO_SRC="$PWD/tree" DESTDIR="$PWD/dest"
    [ ! -e dest ]
}

test_tarball_with_wrong_checksum_is_refused() {
    mkdir -p project/kamailio-glue project/build/download
    cp -r "$root/kamailio-glue/scripts" project/kamailio-glue/
    echo "not a tarball" >project/build/download/kamailio_6.0.1.orig.tar.gz
    refused "does not have the expected checksum" project/kamailio-glue/scripts/fetch.sh
    [ -z "$(files_below project/build)" ]
}

run_tests
