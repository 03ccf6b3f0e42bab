#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds what is missing of the servers, their modules and kamcmd, and prints
# their paths as shell assignments. STOCK_MODULE_PATH has our module built for a
# server without hooks, MODULE_PATH for one with them.

exec 3>&1 1>&2
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/tree.sh"

"$glue/scripts/deps.sh" build
if [ -n "${KAMAILIO_SRC-}" ]; then
    tree=$(tree_path "$KAMAILIO_SRC")
else
    tree=$("$glue/scripts/fetch.sh")
fi
out=$build/$(tree_id "$tree")

# The modules are for these servers.
unset KAMAILIO
"$glue/scripts/servers.sh" "$tree" "$out"
say "[5/5] building the module for both servers (half a minute, if it is not built yet) ..."
"$glue/scripts/module.sh" "$out/hooked" "$out/module"
"$glue/scripts/module.sh" "$out/stock" "$out/module-stock"

printf '%s=%q\n' >&3 \
    STOCK_KAMAILIO "$out/stock/src/kamailio" \
    HOOKED_KAMAILIO "$out/hooked/src/kamailio" \
    MODULE_PATH "$out/stock/src/modules:$out/module" \
    STOCK_MODULE_PATH "$out/stock/src/modules:$out/module-stock" \
    KAMCMD "$out/stock/utils/kamcmd/kamcmd"
