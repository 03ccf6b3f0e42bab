#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The behavioural tests with our module in unmodified servers that are linked in
# other ways: linkages.sh KIND [TEST...]
#   relro    bound at startup, and then all of the GOT read-only
#   no-plt   the same, with calls that do not use a procedure linkage table
# The server's own modules are those of the server that `make -s env` builds.

source "$(dirname "${BASH_SOURCE[0]}")/../../kamailio-glue/scripts/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../support/test_binary.sh"

: "${STOCK_KAMAILIO:?run make test-linkages}"

kind=$1
shift
tests=("$@")
if [ ${#tests[@]} -eq 0 ]; then
    tests=(interposed:: alone::)
fi

sealed="LD_EXTRA_OPTS=-Wl,-z,relro,-z,now"
case $kind in
    relro)
        options=("$sealed")
        relocation=JUMP_SLOT
        ;;
    no-plt)
        options=("$sealed" CC_EXTRA_OPTS=-fno-plt)
        relocation=GLOB_DAT
        ;;
    *)
        fail "usage: linkages.sh relro|no-plt [TEST...]"
        ;;
esac

stock=${STOCK_KAMAILIO%/src/kamailio}
tree=$build/linkages/$kind

build_server() {
    rm -rf "$tree"
    mkdir -p "$tree"
    # The server's objects are rebuilt; its modules are not needed.
    tar -C "$stock" --exclude='*.o' --exclude='*.d' --exclude='*.so' --exclude=config.mak \
        --exclude=src/kamailio -cf - Makefile src | tar -C "$tree" -xf -
    make -C "$tree/src" cfg "${options[@]}"
    make -C "$tree/src" -j "$(nproc)" "$optimised" "${options[@]}" kamailio
}

# expect TEXT TABLE: checks that a line of readelf's output TABLE contains TEXT.
expect() {
    if ! grep -q -- "$1" <<<"$2"; then
        fail "the server $kind is linked wrongly: no $1 in"$'\n'"$2"
    fi
}

# Checks that the server is linked as intended; otherwise the tests would prove nothing.
check_linkage() {
    local server=$1 function relocations
    expect BIND_NOW "$(readelf --dynamic --wide "$server")"
    expect GNU_RELRO "$(readelf --program-headers --wide "$server")"
    relocations=$(readelf --relocs --wide "$server" | grep -E ' (accept|close)@')
    for function in accept close; do
        expect "_$relocation .* $function@" "$relocations"
    done
    if [ "$(wc -l <<<"$relocations")" -ne 2 ]; then
        fail "more than one GOT entry for accept or close:"$'\n'"$relocations"
    fi
}

once "$tree.done" "$stock $(sha256sum <"$STOCK_KAMAILIO") $(declare -f build_server) ${options[*]}" \
    "building the server $kind (about 40 s)" build_server
check_linkage "$tree/src/kamailio"
binary=$(test_binary)
say "$kind: testing $tree/src/kamailio"
export STOCK_KAMAILIO=$tree/src/kamailio
exec "$binary" "${tests[@]}"
