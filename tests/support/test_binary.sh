# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The program of the behavioural tests. Sourced, after common.sh.

# Builds the test program and prints where it is
test_binary() {
    local messages
    cd "$root"
    messages=$(cargo test --no-run --test kamailio --message-format=json)
    sed -n 's/.*"name":"kamailio".*"executable":"\([^"]*\)".*/\1/p' <<<"$messages" | tail -n 1
}
