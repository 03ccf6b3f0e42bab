#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds the fuzz targets and runs them: run.sh SECONDS SEED TARGET...
# Each target runs for SECONDS, two at a time, starting from the inputs in seeds/ and
# those found by earlier runs, which are kept in build/fuzz/. The first finding ends the
# run. With the same SEED, and no kept inputs, a run tries the same inputs as the run
# before, as far as it gets; 0 means another seed each time.
# TCL_FUZZ_TREE is a Kamailio source tree.
#
# The stable toolchain suffices: the coverage that libFuzzer uses is a pass of LLVM,
# which needs no sanitizer runtime. Tracing comparisons for libFuzzer would take two
# thirds of the time, and the seeds already contain the words and address families that
# matter. src/edge.rs finds the buffer overruns that AddressSanitizer would find.

source "$(dirname "${BASH_SOURCE[0]}")/../../kamailio-glue/scripts/common.sh"

seconds=$1
seed=$2
shift 2
targets=("$@")

crate=$root/tests/fuzz
work=$build/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
binaries=$root/target/fuzz/$host/release
flags=(
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
)

# With --target, the flags do not apply to build scripts.
RUSTFLAGS=${flags[*]} cargo build --quiet --locked --release --target "$host" \
    --manifest-path "$crate/Cargo.toml" --target-dir "$root/target/fuzz"

declare -A running=() # The target of each process.

start() {
    local target=$1
    mkdir -p "$work/$target/corpus" "$work/$target/findings"
    "$binaries/$target" -max_total_time="$seconds" -seed="$seed" -max_len=1024 -timeout=10 \
        -print_funcs=0 -artifact_prefix="$work/$target/findings/" \
        "$work/$target/corpus" "$crate/seeds/$target" >"$work/$target/log" 2>&1 &
    running[$!]=$target
}

# Waits for one target to end and prints its figures, or its finding.
finish() {
    local process target log code=0 ended runs covered features corpus edges
    wait -n -p process "${!running[@]}" || code=$?
    target=${running[$process]}
    unset "running[$process]"
    log=$work/$target/log
    if [ "$code" -ne 0 ]; then
        say "FOUND by $target:"
        { grep -aE -A 3 'panicked|^SUMMARY|ERROR|ALARM' "$log" || tail -n 5 "$log"; } |
            sed 's/^/    /' >&2
        say "full log: $log"
        say "to reproduce: $binaries/$target $(sed -n 's/.*Test unit written to //p' "$log")"
        exit 1
    fi
    edges=$(sed -n 's/.*(\([0-9]*\) inline 8-bit counters).*/\1/p' "$log")
    # #100 DONE cov: 20 ft: 30 corp: 4/50b ...
    ended=$(grep -aE '^#[0-9]+[[:space:]]+DONE' "$log")
    read -r runs _ _ covered _ features _ corpus _ <<<"$ended"
    runs=${runs#\#}
    printf '%-9s %9d executions, %6d/s, %d of %d edges, %d features, corpus %s\n' \
        "$target" "$runs" $((runs / seconds)) "$covered" "$edges" "$features" "$corpus"
}

# shellcheck disable=SC2317 # A trap calls it.
stop() {
    if [ ${#running[@]} -gt 0 ]; then
        kill "${!running[@]}" 2>/dev/null || true
    fi
}
trap stop EXIT

say "fuzzing ${targets[*]}: $seconds s each, two at a time ..."
for target in "${targets[@]}"; do
    if [ ${#running[@]} -ge 2 ]; then
        finish
    fi
    start "$target"
done
while [ ${#running[@]} -gt 0 ]; do
    finish
done
