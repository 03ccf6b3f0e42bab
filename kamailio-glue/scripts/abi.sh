#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Keeps the number of the C ABI in step with the headers: abi.sh check|add
#   check   fails if the declarations in include/*.h are not those of TCL_ABI
#   add     the same, but adds a line for a new TCL_ABI
#
# include/abi has a line for each ABI: its number and a digest of the declarations.
# Comments, white space and the version of the library are not part of the digest.
#
# Needs: perl.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case ${1-} in
    check | add) command=$1 ;;
    *) fail "usage: abi.sh check|add" ;;
esac
file=$root/include/abi
header=$root/include/tcp_conn_limit.h

digest() {
    cat "$root/include/tcl_host.h" "$header" |
        perl -0777 -pe '
            s{/\*.*?\*/}{ }gs;
            s/^#define TCL_(ABI|VERSION) .*$//gm;
            s/\s+/ /g;
        ' | sha256sum | cut -d ' ' -f 1
}

abi=$(sed -n 's/^#define TCL_ABI //p' "$header")
now=$(digest)
# The last line is that of the newest ABI.
read -r last last_digest < <(grep -v '^#' "$file" | tail -n 1) || last=0

if [ "$abi" -lt "$last" ]; then
    fail "TCL_ABI is $abi, but include/abi already has ABI $last: raise it in src/ffi/codes.rs, then run 'make generate'"
elif [ "$abi" -gt "$last" ]; then
    [ "$command" = add ] || fail "include/abi has no line for TCL_ABI $abi: run 'make generate'"
    printf '%s %s\n' "$abi" "$now" >>"$file"
elif [ "$now" != "$last_digest" ]; then
    fail "the declarations in include/*.h have changed, but TCL_ABI is still $abi: raise it in src/ffi/codes.rs, then run 'make generate'"
fi
