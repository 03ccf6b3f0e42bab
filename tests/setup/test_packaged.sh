#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The module in the packaged server of this machine's Debian, with the attachment
# interpose: it limits, counts and shuts down cleanly.

source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"
source "$(dirname "${BASH_SOURCE[0]}")/server.sh"

scripts=$root/kamailio-glue/scripts

test_packaged_server_is_limited() {
    eval "$("$scripts/packaged.sh")"
    KAMAILIO=$PACKAGED_KAMAILIO "$scripts/module.sh" --package "$PACKAGED_SRC" "$PWD/module"
    # Its modules need the libraries that they share.
    export LD_LIBRARY_PATH=$PACKAGED_LIBRARIES
    start "$PACKAGED_KAMAILIO" "$PACKAGED_MODULES:$PWD/module"
    is_limited interpose
    stop
}

run_tests
