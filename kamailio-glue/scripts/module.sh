#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds the module for the Kamailio source tree TREE: module.sh TREE [OUT]
# The folder OUT gets tcp_conn_limit.so, the library, and a link to it for the linker.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/tree.sh"
source "$(dirname "${BASH_SOURCE[0]}")/mirror.sh"

tree=$(tree_path "$1")
out=${2-$(user_module "$tree")}

abi=$(tree_hooks_abi "$tree")
if [ -n "$abi" ] && [ "$abi" != "$(hooks_abi "$hooks_patch")" ]; then
    fail "the hooks in $tree have ABI $abi, but the module needs ABI $(hooks_abi "$hooks_patch"): see 'make status KAMAILIO_SRC=$tree'"
fi
if [ ! -f "$tree/src/config.mak" ]; then
    fail "$tree is not configured: run 'make cfg' in it, with the options that its server is built with"
fi

# Objects depend on whether the tree has hooks, but make only compares dates, and the
# headers of a tree that was unpacked or copied again can be older than the objects.
forget_objects_of_other_hooks() {
    local stamp=$out/hooks-abi
    if [ -f "$stamp" ] && [ "$(<"$stamp")" = "$abi" ]; then
        return
    fi
    rm -f "$mirrored"/*.[do] "$mirrored/tcp_conn_limit.so"
    printf '%s\n' "$abi" >"$stamp"
}

cd "$root"
cargo build --release --lib --target-dir "$root/target"
mirror "$tree" "$out" "$glue/tcp_conn_limit"
forget_objects_of_other_hooks
ln -sfn "$root/include" "$out/include"
library=$(library_name)
# cargo names it without the ABI.
ln -f "$root/target/release/libtcp_conn_limit.so" "$root/target/release/$library"
put "$out" "$root/target/release/$library"
ln -sfn "$library" "$out/libtcp_conn_limit.so"
# FORTIFY_SOURCE needs an optimised build, so it is not in the module's Makefile.
logged "$out/module.log" "building the module" \
    make -C "$mirrored" "$optimised -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2" TCL_LIBDIR=../../.. TCL_INCDIR=../../../include
put "$out" "$mirrored/tcp_conn_limit.so"
if [ -n "$abi" ]; then
    kind="with the connection hooks"
else
    kind="without hooks (attach \"interpose\")"
fi
say "module for Kamailio $(tree_version "$tree") $kind: ${out#"$root/"}/tcp_conn_limit.so"
