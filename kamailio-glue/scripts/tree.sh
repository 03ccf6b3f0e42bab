# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Functions that describe a Kamailio source tree. Sourced.

# shellcheck disable=SC2034 # for those who source this
hooks_patch=$glue/core-hooks.patch
hooks_header=src/core/tcp_conn_hooks.h

# tree_path DIR: prints the absolute path of the tree; fails if DIR is not one.
tree_path() {
    local dir=$1
    [ -d "$dir" ] || fail "KAMAILIO_SRC: no such folder: $dir"
    dir=$(cd "$dir" && pwd -P)
    if [ ! -f "$dir/src/core/tcp_main.c" ] || [ ! -f "$dir/src/Makefile.defs" ]; then
        fail "KAMAILIO_SRC: not a Kamailio source tree (no src/core/tcp_main.c, src/Makefile.defs): $dir"
    fi
    printf '%s\n' "$dir"
}

tree_version() {
    awk -F= '
        /^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*=/ {
            gsub(/[ \t]/, "")
            part[$1] = $2
        }
        END { print part["VERSION"] "." part["PATCHLEVEL"] "." part["SUBLEVEL"] part["EXTRAVERSION"] }
    ' "$1/src/Makefile.defs"
}

# tree_id TREE: prints a name for what is built from the tree, unique for each folder.
tree_id() {
    printf '%s-%s\n' "$(basename "$1")" "$(printf '%s' "$1" | sha256sum | cut -c 1-8)"
}

# Prints the folder where the module for a user's tree is built.
user_module() {
    printf '%s\n' "$build/$(tree_id "$1")/user-module"
}

# Prints the ABI of the hooks in a header or in the patch, or nothing if there are none.
hooks_abi() {
    sed -n 's/^+\{0,1\}#define KSR_TCP_CONN_HOOKS_ABI[ \t]*//p' "$1"
}

# Prints the ABI of the hooks in TREE, or nothing if it has none.
tree_hooks_abi() {
    if [ -f "$1/$hooks_header" ]; then
        hooks_abi "$1/$hooks_header"
    fi
}
