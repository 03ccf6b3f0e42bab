#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The two shared objects as shipped: their exported symbols and their hardening.

source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

: "${MODULE_PATH:?run make test}" "${STOCK_MODULE_PATH:?run make test}"

# Our module is in the last folder of each path.
folders=("${MODULE_PATH##*:}" "${STOCK_MODULE_PATH##*:}")

symbols() {
    nm --dynamic --defined-only --format=just-symbols "$1" | LC_ALL=C sort
}

# each OBJECT COMMAND...: runs COMMAND with the path of OBJECT in each folder.
each() {
    local object=$1 folder
    shift
    for folder in "${folders[@]}"; do
        echo "$folder/$object"
        "$@" "$folder/$object"
    done
}

# has_not PATTERN FILE: checks that no line of FILE matches PATTERN.
has_not() {
    if grep -E -- "$1" "$2"; then
        echo "not expected: $1"
        return 1
    fi
}

has() {
    if ! grep -qE -- "$1" "$2"; then
        echo "expected: $1"
        return 1
    fi
}

module_symbols() {
    symbols "$1" | diff - <(printf '%s\n' \
        exports mod_register module_flags module_interface_ver module_version)
}

library_symbols() {
    symbols "$1" | diff - "$root/tests/setup/library-symbols.txt"
}

hardened() {
    readelf --wide --dynamic "$1" >dynamic
    readelf --wide --segments "$1" >segments
    has 'GNU_RELRO' segments
    # lld writes an alignment of 0.
    has 'GNU_STACK .* RW +0(x[0-9a-f]+)?$' segments
    has_not 'RWE|R?WE ' segments
    has '\(FLAGS_1\).* NOW' dynamic
    has_not 'TEXTREL|RUNPATH' dynamic
}

# shellcheck disable=SC2016 # the linker's own word
module_paths() {
    readelf --wide --dynamic "$1" >dynamic
    has '\(RPATH\).*[[][$]ORIGIN[]]$' dynamic
}

# The module asks for the library by its soname.
soname() {
    readelf --wide --dynamic "$1" >dynamic
    has "\\(SONAME\\).*[[]${library}[]]$" dynamic
}

asks_for_the_library() {
    readelf --wide --dynamic "$1" >dynamic
    has "\\(NEEDED\\).*[[]${library}[]]$" dynamic
}

library_paths() {
    readelf --wide --dynamic "$1" >dynamic
    has_not '\(RPATH\)' dynamic
}

checked_by_the_compiler() {
    nm --dynamic --undefined-only "$1" >undefined
    has ' __stack_chk_fail' undefined
    has ' __[a-z]+_chk(@|$)' undefined
}

test_module_exports_what_the_loader_needs() {
    each tcp_conn_limit.so module_symbols
}

test_library_exports_its_c_abi() {
    each "$library" library_symbols
}

# Each function in the list is declared, so no function is exported by accident.
test_exported_functions_are_declared_in_the_header() {
    grep -oE '\b(tcl_[a-z_]+|tcp_connection_limit_srcip)\(' "$root/include/tcp_conn_limit.h" |
        tr -d '(' | LC_ALL=C sort -u >declared
    LC_ALL=C comm -23 "$root/tests/setup/library-symbols.txt" declared >undeclared
    [ ! -s undeclared ] || { cat undeclared; return 1; }
}

test_soname_ends_with_the_abi() {
    each "$library" soname
    each tcp_conn_limit.so asks_for_the_library
}

test_both_are_hardened() {
    each tcp_conn_limit.so hardened
    each "$library" hardened
}

test_module_searches_libraries_only_in_its_own_folder() {
    each tcp_conn_limit.so module_paths
    each "$library" library_paths
}

test_module_has_the_compilers_checks() {
    each tcp_conn_limit.so checked_by_the_compiler
}

run_tests
