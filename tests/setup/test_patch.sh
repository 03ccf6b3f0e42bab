#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# make patch, unpatch and status on Kamailio trees in every state.

source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

# new_tree FOLDER: creates the parts of a tree without hooks that the patch needs.
new_tree() {
    mkdir -p "$1/src/core"
    cp -p "${STOCK_KAMAILIO%/*}/Makefile.defs" "$1/src/"
    cp -p "${STOCK_KAMAILIO%/*}"/core/*.[ch] "$1/src/core/"
}

hooks() {
    make -C "$root" "$1" KAMAILIO_SRC="$PWD/tree"
}

# unchanged COMMAND...: runs COMMAND and checks that it does not change the tree.
unchanged() {
    cp -a tree before
    "$@"
    diff -r before tree
    rm -r before
}

test_unpatch_restores_what_patch_changed() {
    new_tree tree
    cp -a tree before
    hooks patch
    diff -rq before tree && return 1
    hooks unpatch
    diff -r before tree
}

test_patch_and_unpatch_may_be_repeated() {
    new_tree tree
    unchanged says "not applied" hooks unpatch
    hooks patch
    unchanged says "already applied" hooks patch
}

test_status_shows_version_and_hooks() {
    new_tree tree
    says "not in" hooks status
    hooks patch
    says "in, ABI " hooks status
    says "configured:  no" hooks status
    printf 'VERSION = 9\nPATCHLEVEL = 8\nSUBLEVEL =  7\nEXTRAVERSION = -dev1\n' >tree/src/Makefile.defs
    says "9.8.7-dev1" hooks status
}

test_struct_with_more_members_at_its_end_fits() {
    new_tree tree
    # As in the master since TCP main has a reactor.
    sed -i 's/^\tstruct tcp_wbuffer_queue wbuf_q;$/&\n\tstruct tcp_wchunk *wsq_head;\n\tunsigned int wsq_len;/' \
        tree/src/core/tcp_conn.h
    grep -q wsq_len tree/src/core/tcp_conn.h
    cp -a tree before
    hooks patch
    says "in, ABI " hooks status
    hooks unpatch
    diff -r before tree
}

test_new_files_of_the_core_have_the_bsd_licence() {
    new_tree tree
    hooks patch
    head -n 8 tree/src/core/tcp_conn_hooks.h | grep -q "SPDX-License-Identifier: BSD-2-Clause"
    head -n 8 tree/src/core/tcp_conn_hooks.c | grep -q "SPDX-License-Identifier: BSD-2-Clause"
    # The hunks of other files add no licence.
    grep -c '^+.*SPDX' "$root/kamailio-glue/core-hooks.patch" | grep -qx 2
}

test_tree_that_does_not_fit_is_unchanged() {
    new_tree tree
    sed -i 's/^\(\t*\)tcpconn_listrm(tcpconn_id_hash.*/\1tcpconn_forget(c);/' tree/src/core/tcp_main.c
    unchanged refused "does not fit" hooks patch
    refused "src/core/tcp_main.c, hunk " hooks patch
    refused "line not found: 	tcpconn_listrm(tcpconn_id_hash[c->id_hash], c, id_next, id_prev);" hooks patch
    says "does not fit" hooks status
}

test_missing_file_is_named() {
    new_tree tree
    rm tree/src/core/tcp_conn.h
    unchanged refused "src/core/tcp_conn.h: not found" hooks patch
}

test_partial_hooks_are_refused() {
    new_tree tree
    hooks patch
    rm tree/src/core/tcp_conn_hooks.c
    unchanged refused "only in part" hooks patch
    unchanged refused "src/core/tcp_conn_hooks.c" hooks unpatch
    says "in, but only in part" hooks status
}

test_hooks_of_another_abi_are_refused() {
    new_tree tree
    hooks patch
    sed -i 's/\(#define KSR_TCP_CONN_HOOKS_ABI\) .*/\1 99/' tree/src/core/tcp_conn_hooks.h
    unchanged refused "have ABI 99" hooks patch
    unchanged refused "remedy" hooks unpatch
    says "another ABI: 99" hooks status
}

test_edited_hooks_are_refused() {
    new_tree tree
    hooks patch
    sed -i 's/may not block/MAY NOT BLOCK/; s/return: /returns: /' tree/src/core/tcp_conn_hooks.h
    unchanged refused "not those of core-hooks.patch" hooks patch
    unchanged refused "src/core/tcp_conn_hooks.h" hooks unpatch
}

test_folder_without_a_tree_is_refused() {
    mkdir tree
    unchanged refused "not a Kamailio source tree" hooks patch
    rmdir tree
    refused "no such folder" hooks status
    refused "needs KAMAILIO_SRC=DIR" make -C "$root" patch
}

run_tests
