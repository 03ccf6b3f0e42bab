#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds the module bench_stock for a server and prints the path of the module:
# build.sh TREE/src/kamailio. It builds in a mirror of the server's source tree.

exec 3>&1 1>&2
# shellcheck source=../../../../kamailio-glue/scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../../../kamailio-glue/scripts/common.sh"
# shellcheck source=../../../../kamailio-glue/scripts/mirror.sh
source "$glue/scripts/mirror.sh"

tree=${1%/src/kamailio}
out=${tree%/*}/bench-stock

mirror "$tree" "$out" "$root/tests/bench/engine/stock"
logged "$out/module.log" "building the module bench_stock" make -C "$mirrored" "$optimised"
printf '%s\n' "$mirrored/bench_stock.so" >&3
