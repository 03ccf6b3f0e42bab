#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds the server's own module ndb_redis and prints the path of the module:
# redis.sh TREE/src/kamailio. It builds in a mirror of the server's source tree.

exec 3>&1 1>&2
# shellcheck source=../../../kamailio-glue/scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../../kamailio-glue/scripts/common.sh"
# shellcheck source=../../../kamailio-glue/scripts/mirror.sh
source "$glue/scripts/mirror.sh"

tree=${1%/src/kamailio}
out=${tree%/*}/bench-redis

mirror "$tree" "$out" "$tree/src/modules/ndb_redis"
logged "$out/module.log" "building the module ndb_redis" make -C "$mirrored" "$optimised"
printf '%s\n' "$mirrored/ndb_redis.so" >&3
