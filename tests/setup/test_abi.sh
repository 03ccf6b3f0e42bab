#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The number of the C ABI follows the declarations in the headers.

source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

# Copies the headers and the script to the folder of the test.
copy_project() {
    mkdir kamailio-glue
    cp -r "$root/include" .
    cp -r "$root/kamailio-glue/scripts" kamailio-glue/
    header=include/tcp_conn_limit.h
}

abi() {
    kamailio-glue/scripts/abi.sh "$@"
}

raise() {
    local now
    now=$(sed -n 's/^#define TCL_ABI //p' "$header")
    sed -i "s/^#define TCL_ABI .*/#define TCL_ABI $((now + 1))/" "$header"
}

test_committed_headers_have_their_abi() {
    copy_project
    abi check
}

test_comments_and_version_are_not_part_of_the_abi() {
    copy_project
    sed -i 's|^ \* Success\.| * Everything is fine.|; s/^#define TCL_VERSION .*/#define TCL_VERSION "9.9.9"/' "$header"
    printf '\n\n/* The end. */\n' >>include/tcl_host.h
    refused TCL_VERSION diff -r include "$root/include"
    abi check
    abi add
    diff include/abi "$root/include/abi"
}

test_changed_declaration_is_refused() {
    local change
    for change in 's/uint64_t uncounted;/uint32_t uncounted;/' 's/^#define TCL_EARG -1/#define TCL_EARG -20/' \
        's/^int32_t tcl_set_mode(int32_t mode);/int32_t tcl_set_mode(uint32_t mode);/'; do
        rm -rf include kamailio-glue
        copy_project
        sed -i "$change" "$header"
        refused "raise it" abi check
        refused "make generate" abi add
        diff include/abi "$root/include/abi"
    done
}

test_changed_host_function_is_refused() {
    copy_project
    sed -i 's/uint32_t (\*now)(void);/uint64_t (*now)(void);/' include/tcl_host.h
    refused "raise it" abi check
}

test_raised_abi_gets_a_line() {
    copy_project
    sed -i 's/uint64_t uncounted;/uint32_t uncounted;/' "$header"
    raise
    refused "make generate" abi check
    abi add
    abi check
    [ "$(diff include/abi "$root/include/abi" | grep -c '^<')" -eq 1 ]
    abi add
    [ "$(diff include/abi "$root/include/abi" | grep -c '^<')" -eq 1 ]
}

test_lowered_abi_is_refused() {
    copy_project
    raise
    abi add
    cp "$root/$header" "$header"
    refused "src/ffi/codes.rs" abi check
    refused "src/ffi/codes.rs" abi add
}

run_tests
