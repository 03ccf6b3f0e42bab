#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds the module for the Kamailio source tree TREE: module.sh TREE [OUT]
# The folder OUT gets tcp_conn_limit.so and libtcp_conn_limit.so.
#
# The tree's own build system does it, for the tree's version and flags must be
# the module's. But it writes beside the sources; so it is shown another tree,
# which consists of links to TREE and of our module, and TREE stays as it is.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/tree.sh"

tree=$(tree_path "$1")
out=${2-$(user_module "$tree")}
module=$out/src/modules/tcp_conn_limit

abi=$(tree_hooks_abi "$tree")
if [ -z "$abi" ]; then
    fail "no connection hooks in $tree: run 'make patch KAMAILIO_SRC=$tree', then build and install that Kamailio"
fi
if [ "$abi" != "$(hooks_abi "$hooks_patch")" ]; then
    fail "the hooks in $tree have ABI $abi, the module is made for ABI $(hooks_abi "$hooks_patch"): see 'make status KAMAILIO_SRC=$tree'"
fi
if [ ! -f "$tree/src/config.mak" ]; then
    fail "not configured: $tree: run 'make cfg' there, with the options its server is built with"
fi

mirror() {
    local entry
    mkdir -p "$module"
    find "$out/src" "$out/src/modules" "$module" -maxdepth 1 -type l -delete
    for entry in "$tree"/src/*; do
        case ${entry##*/} in
            # the build system may write config.mak anew
            config.mak) cp -p "$entry" "$out/src/" ;;
            modules) ;;
            *) ln -s "$entry" "$out/src/" ;;
        esac
    done
    ln -s "$glue"/tcp_conn_limit/* "$module/"
    ln -sfn "$root/include" "$out/include"
    cp -p --remove-destination "$root/target/release/libtcp_conn_limit.so" "$out/"
}

cd "$root"
cargo build --release --lib --target-dir "$root/target"
mirror
logged "$out/module.log" "building the module" \
    make -C "$module" TCL_LIBDIR=../../.. TCL_INCDIR=../../../include
cp -p --remove-destination "$module/tcp_conn_limit.so" "$out/"
say "module for Kamailio $(tree_version "$tree"): ${out#"$root/"}/tcp_conn_limit.so"
