#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The tests with sanitizers: run.sh [--long]
#   address   AddressSanitizer: the engine's tests, and the C programs that use the
#             library; the programs also with UndefinedBehaviorSanitizer
#   server    both in a real server, for the module's C code; AddressSanitizer for the
#             library. With --long more tests, see tests/README.md
#   thread    ThreadSanitizer: the engine's tests with threads
#
# rustc has sanitizers behind -Zsanitizer, which a stable rustc accepts only with
# RUSTC_BOOTSTRAP. The flag is not stable: if a later rustc does not accept it, change
# it here; nothing that is shipped is built this way. The runtimes come with the
# toolchains of rustup. Where they are missing (Debian's own rustc), the parts that
# need them are skipped with a message.
#
# Rust's standard library is the prebuilt one, not instrumented. Its accesses to our
# memory are checked only where it calls the C library (memcpy, malloc, free). Generic
# and inlined code, including atomics, is compiled here and checked.

source "$(dirname "${BASH_SOURCE[0]}")/../../kamailio-glue/scripts/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../../kamailio-glue/scripts/mirror.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../support/test_binary.sh"

: "${STOCK_KAMAILIO:?run make sanitize}" "${HOOKED_KAMAILIO:?run make sanitize}"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
out=$build/sanitize
target=$(rustc -vV | sed -n 's/^host: //p')
runtimes=$(rustc --print sysroot)/lib/rustlib/$target/lib
# Stop at the first error: continuing would hide it.
c_flags="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"

declare -A rust_flags=(
    [address]="-Zsanitizer=address"
    # Without it, rustc rejects the standard library as of another ABI.
    [thread]="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
)

long=
case ${1-} in
    "") ;;
    --long) long=yes ;;
    *) fail "usage: run.sh [--long]" ;;
esac

# part NAME COMMAND...: runs one part with its output in a log and prints how many
# tests passed.
part() {
    local name=$1 began=$SECONDS passed
    shift
    logged "$out/$name.log" "sanitizer: $name" "$@"
    passed=$(awk '/^test result: ok/ { n += $4 } END { print n + 0 }' "$out/$name.log")
    if [ "$passed" -eq 0 ]; then
        fail "sanitizer: $name: no test ran; see ${out#"$root/"}/$name.log"
    fi
    say "sanitizer: $name: $passed tests passed, no error, $((SECONDS - began)) s"
}

# has_runtime SANITIZER: succeeds if this rustc has the sanitizer's runtime.
has_runtime() {
    compgen -G "$runtimes/librustc*_rt.$1.a" >/dev/null
}

# instrumented SANITIZER [ARGUMENT...]: runs cargo test with the engine instrumented.
instrumented() {
    local sanitizer=$1
    shift
    cd "$root"
    # The engine is optimised a little, because its tests would take long otherwise.
    RUSTC_BOOTSTRAP=1 RUSTFLAGS="${rust_flags[$sanitizer]}" \
        cargo --config profile.dev.opt-level=1 --config 'profile.dev.package."*".opt-level=0' \
        test --target "$target" --target-dir "$root/target/sanitize/$sanitizer" "$@"
}

engine_tests=(
    --lib --test abi --test controls --test fork --test hot_path
    --test interpose --test oracle --test reports --test threads --test watch
)

address() {
    LSAN_OPTIONS=suppressions=$here/leak.suppressions:print_suppressions=0 \
        TCL_TEST_CFLAGS=$c_flags instrumented address "${engine_tests[@]}" -- --skip under_valgrind
}

# build_module TREE FOLDER: builds the instrumented module for TREE, with the library
# of the part `address`.
build_module() {
    local folder=$out/$2
    mirror "$1" "$folder" "$glue/tcp_conn_limit"
    ln -sfn "$root/include" "$folder/include"
    cp -p --remove-destination \
        "$root/target/sanitize/address/$target/debug/deps/libtcp_conn_limit.so" \
        "$folder/$(library_name)"
    ln -sfn "$(library_name)" "$folder/libtcp_conn_limit.so"
    # LD: the tree's configuration has no variable for the linker flags of one module.
    make -C "$mirrored" -j "$(nproc)" "CC_OPT=-O1 $c_flags" LD="gcc $c_flags" \
        TCL_LIBDIR=../../.. TCL_INCDIR=../../../include
    cp -p --remove-destination "$mirrored/tcp_conn_limit.so" "$folder/"
}

server() {
    local modules=${STOCK_KAMAILIO%/kamailio}/modules tests binary
    # A test that uses the shared library, so that the library is built.
    instrumented address --no-run --test abi
    build_module "${HOOKED_KAMAILIO%/src/kamailio}" module
    build_module "${STOCK_KAMAILIO%/src/kamailio}" module-stock
    if [ -z "$long" ]; then
        tests=(attached::module)
    else
        tests=(attached:: module:: interposed:: alone::)
    fi
    binary=$(test_binary)
    # The runtimes are preloaded into every process: the server itself is not
    # instrumented, and the runtime must be loaded before anything is allocated. Leaks
    # are checked by `make memcheck`: the server frees nothing at its end.
    MODULE_PATH=$modules:$out/module STOCK_MODULE_PATH=$modules:$out/module-stock \
        ASAN_OPTIONS=detect_leaks=0 \
        LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
        "$binary" "${tests[@]}" --test-threads=$((2 * $(nproc)))
}

thread() {
    TSAN_OPTIONS="suppressions=$here/thread.suppressions" \
        instrumented thread --test threads
}

for each in "asan address server" "tsan thread"; do
    read -ra parts <<<"$each"
    for name in "${parts[@]:1}"; do
        if has_runtime "${parts[0]}"; then
            part "$name" "$name"
        else
            say "sanitizer: $name: SKIPPED: no runtime ${parts[0]} in $runtimes; use a toolchain of rustup"
        fi
    done
done
