# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Functions that describe a Kamailio source tree. Sourced.

# shellcheck disable=SC2034 # for those who source this
hooks_patch=$glue/core-hooks.patch
hooks_header=src/core/tcp_conn_hooks.h

# tree_path DIR: prints the absolute path of the tree; fails if DIR is not one. DIR may
# also be a folder in which CMake builds the tree.
tree_path() {
    local dir=$1
    [ -d "$dir" ] || fail "KAMAILIO_SRC: no such folder: $dir"
    dir=$(cd "$dir" && pwd -P)
    if [ ! -f "$dir/src/core/tcp_main.c" ] && [ -f "$dir/CMakeCache.txt" ]; then
        dir=$(cache_value "$dir" CMAKE_HOME_DIRECTORY)
    fi
    if [ ! -f "$dir/src/core/tcp_main.c" ] || [ ! -f "$dir/src/Makefile.defs" ]; then
        fail "KAMAILIO_SRC: not a Kamailio source tree (no src/core/tcp_main.c, src/Makefile.defs): $dir"
    fi
    printf '%s\n' "$dir"
}

# cache_value BUILD NAME: prints a setting with which CMake has configured the folder
# BUILD.
cache_value() {
    sed -n "s/^$2:[A-Z]*=//p" "$1/CMakeCache.txt"
}

# Prints the version of a server that make builds in the tree.
tree_version() {
    awk -F= '
        /^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*=/ {
            gsub(/[ \t]/, "")
            part[$1] = $2
        }
        END { print part["VERSION"] "." part["PATCHLEVEL"] "." part["SUBLEVEL"] part["EXTRAVERSION"] }
    ' "$1/src/Makefile.defs"
}

# Succeeds if CMake can build the tree: 6.0 and later.
has_cmake() {
    [ -f "$1/CMakeLists.txt" ] && [ -f "$1/src/modules/CMakeLists.txt" ]
}

# Prints the version of a server that CMake builds in the tree. It can be another one:
# 6.0.1 calls itself 6.0.0-rc0.
tree_cmake_version() {
    sed -n -e 's/^[ ]*VERSION \([0-9.]*\).*/\1/p' -e 's/^set(EXTRAVERSION "\(.*\)").*/\1/p' \
        "$1/CMakeLists.txt" | tr -d '\n'
    echo
}

# tree_id TREE: prints a name for what is built from the tree, unique for each folder.
tree_id() {
    printf '%s-%s\n' "$(basename "$1")" "$(printf '%s' "$1" | sha256sum | cut -c 1-8)"
}

# Prints the folder where the module for a user's tree is built.
user_module() {
    printf '%s\n' "$build/$(tree_id "$1")/user-module"
}

# Prints the ABI of the hooks in a header or in the patch, or nothing if it has no hooks.
hooks_abi() {
    sed -n 's/^+\{0,1\}#define KSR_TCP_CONN_HOOKS_ABI[ \t]*//p' "$1"
}

# Prints the ABI of the hooks in TREE, or nothing if it has no hooks.
tree_hooks_abi() {
    if [ -f "$1/$hooks_header" ]; then
        hooks_abi "$1/$hooks_header"
    fi
}
