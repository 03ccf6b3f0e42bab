#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Checks the C code of the module and the tests with -Wshadow, which the build of a
# Kamailio module does not set: warnings.sh TREE
#
# TREE is a Kamailio source tree. Its own headers cause such warnings, so they are
# system headers here. gcc then ignores a local variable that shadows a global of
# such a header, clang reports it. A copy of the headers gets the hooks, because part
# of the module is compiled only with them.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/tree.sh"
source "$(dirname "${BASH_SOURCE[0]}")/mirror.sh"

tree=$(tree_path "$1")
module=$glue/tcp_conn_limit

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
mkdir -p "$copy/src/modules/tcp_conn_limit"
link_headers "$tree" "$copy"
cp -r "$tree/src/core" "$tree/src/Makefile.defs" "$copy/src/"
logged "$build/warnings.log" "putting the hooks in" "$glue/scripts/hooks.sh" patch "$copy"

# The configuration that the core's headers need; it fits any machine.
options=(
    -std=gnu11 -fsyntax-only -Werror -Wall -Wshadow
    -DMOD_NAME='"tcp_conn_limit"' -DNAME='"kamailio"' -DVERSION='"-"' -DARCH='"-"'
    -DOS_QUOTED='"linux"' -D__OS_linux -DUSE_TCP -DUSE_TLS -DUSE_POSIX_SEM -DSHM_MMAP
    -DHAVE_GETHOSTBYNAME2
    # A header warns that other locks are faster.
    '-Wno-#warnings'
    -I "$root/include" -I "$root/tests/support/c"
    # The module includes ../../core/NAME.
    -isystem "$copy/src/modules/tcp_conn_limit"
)

mapfile -t tests < <(find "$root/tests" -name '*.c')
clang "${options[@]}" "$module"/*.c "${tests[@]}"
