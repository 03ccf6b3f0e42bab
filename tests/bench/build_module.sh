#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds a module for a server and prints the path of the module:
# build_module.sh TREE/src/kamailio FOLDER. The folder has the module's sources and its
# name. It builds in a mirror of the server's source tree.

exec 3>&1 1>&2
# shellcheck source=../../kamailio-glue/scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../kamailio-glue/scripts/common.sh"
# shellcheck source=../../kamailio-glue/scripts/mirror.sh
source "$glue/scripts/mirror.sh"

tree=${1%/src/kamailio}
sources=$(realpath "$2")
name=${sources##*/}
out=${tree%/*}/bench-$name

mirror "$tree" "$out" "$sources"
logged "$out/module.log" "building the module $name" make -C "$mirrored" "$optimised"
printf '%s\n' "$mirrored/$name.so" >&3
