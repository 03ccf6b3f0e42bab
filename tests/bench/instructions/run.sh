#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Counts the instructions and the cache misses of the hot path with callgrind:
# run.sh [LIBRARY_DIR]. They do not depend on the load of the machine, so they
# guard against regressions. Fails if an operation exceeds its budget of either.
#
# The budgets were measured on x86-64 with rustc 1.96. The margin below is for other
# compilers and for the random hash key, which moves sources to other buckets.

set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(cd "$here/../../.." && pwd -P)
library=${1-$root/target/release}
margin=20 # percent
sources=35000
count=200000

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The dynamic linker looks for the library by its soname.
soname=$(readelf --dynamic --wide "$library/libtcp_conn_limit.so" |
    sed -n 's/.*(SONAME).*\[\(.*\)\]$/\1/p')
ln -s "$(realpath "$library")/libtcp_conn_limit.so" "$work/$soname"
cc -std=c11 -O2 -Wall -Wextra -Werror -I "$root/include" "$here/hot.c" \
    -L "$library" "-Wl,-rpath,$work" -ltcp_conn_limit -o "$work/hot"

# events OPERATION COUNT: prints the instructions and the first-level data misses
# (reads and writes).
events() {
    local out=$work/$1.$2
    valgrind --tool=callgrind --cache-sim=yes --callgrind-out-file="$out" \
        --D1=49152,12,64 "$work/hot" "$1" "$sources" "$2" 2>"$out.log" ||
        { cat "$out.log" >&2; return 1; }
    awk '
        /^events:/ { for (i = 2; i <= NF; i++) column[$i] = i }
        /^(summary|totals):/ { print $column["Ir"], $column["D1mr"] + $column["D1mw"]; exit }
    ' "$out"
}

# Runs each operation COUNT and 2 COUNT times. The difference excludes the start of
# the program; the caller subtracts the loop itself.
per_operation() {
    local once twice
    read -ra once < <(events "$1" "$count")
    read -ra twice < <(events "$1" $((2 * count)))
    awk -v a="${once[0]}" -v b="${twice[0]}" -v c="${once[1]}" -v d="${twice[1]}" -v n="$count" \
        'BEGIN { printf "%.1f %.2f\n", (b - a) / n, (d - c) / n }'
}

# An operation on each core.
running=0
for operation in nothing $(cut -d ' ' -f 1 "$here/budget"); do
    if ((running == $(nproc))); then
        wait -n
        running=$((running - 1))
    fi
    per_operation "$operation" >"$work/$operation" &
    running=$((running + 1))
done
while ((running > 0)); do
    wait -n
    running=$((running - 1))
done

failed=0
read -r loop_instructions loop_misses <"$work/nothing"
printf '%-8s %14s %8s %28s %8s\n' operation instructions budget 'misses of 48 KiB, 12 ways' budget
while read -r operation budget miss_budget; do
    read -r instructions misses <"$work/$operation"
    verdict=$(awk -v i="$instructions" -v l="$loop_instructions" -v m="$misses" -v k="$loop_misses" \
        -v b="$budget" -v c="$miss_budget" -v p="$margin" -v o="$operation" 'BEGIN {
            i -= l; m -= k; p = (100 + p) / 100
            printf "%-8s %14.1f %8d %28.2f %8.2f%s\n", o, i, b, m, c,
                (i > b * p || m > c * p) ? "   OVER BUDGET" : ""
        }')
    printf '%s\n' "$verdict"
    if [[ $verdict == *OVER* ]]; then
        failed=1
    fi
done <"$here/budget"
if [ "$failed" -ne 0 ]; then
    echo "error: more than $margin % over budget (tests/bench/instructions/budget)" >&2
    exit 1
fi
