#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The module in the packaged server of this machine's Debian, with the attachment
# interpose: it limits, counts and shuts down cleanly.

source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

: "${KAMCMD:?run make test}"

scripts=$root/kamailio-glue/scripts

# Prints a free port.
free_port() {
    local port
    for port in {15098..15198}; do
        if ! (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    return 1
}

# rpc COMMAND...: prints the server's answer.
rpc() {
    "$KAMCMD" -s "unix:$PWD/ctl.sock" "$@"
}

# until_true COMMAND...: waits until COMMAND succeeds, for at most 20 seconds.
until_true() {
    local end=$((SECONDS + 20))
    until "$@"; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo "did not succeed within 20 s: $*"
            return 1
        fi
        sleep 0.1
    done
}

# has COMMAND FIELD NUMBER: succeeds if FIELD of the server's answer is NUMBER.
has() {
    rpc "$1" 2>/dev/null | grep -qx "[[:space:]]*$2: $3"
}

# Succeeds if the process that starts last is running.
is_up() {
    rpc core.psa 2>/dev/null | grep -q "tcp main"
}

# Starts the server with a limit of 3 and sets `server` to its process. Its own
# modules need LD_LIBRARY_PATH.
start() {
    cat >kamailio.cfg <<-EOF
		#!KAMAILIO
		debug=1
		children=1
		tcp_children=1
		listen=tcp:127.0.0.1:$port
		loadmodule "kex.so"
		loadmodule "ctl.so"
		modparam("ctl", "binrpc", "unix:$PWD/ctl.sock")
		loadmodule "tcp_conn_limit.so"
		modparam("tcp_conn_limit", "tcp_conn_limit", 3)
		request_route { exit; }
	EOF
    LD_LIBRARY_PATH=$PACKAGED_LIBRARIES "$PACKAGED_KAMAILIO" -DD -E -f "$PWD/kamailio.cfg" \
        -L "$PACKAGED_MODULES:$PWD/module" -w "$PWD" -Y "$PWD" -P "$PWD/pid" >log 2>&1 &
    server=$!
    trap 'kill "$server" 2>/dev/null; cat log' EXIT
    until_true is_up
}

test_packaged_server_is_limited() {
    local descriptors=() descriptor port
    port=$(free_port)
    eval "$("$scripts/packaged.sh")"
    "$scripts/module.sh" "$PACKAGED_SRC" "$PWD/module"
    start
    says "attached: interpose" rpc tcp_conn_limit.stats

    for _ in 1 2 3 4 5; do
        exec {descriptor}<>"/dev/tcp/127.0.0.1/$port"
        descriptors+=("$descriptor")
    done
    until_true has tcp_conn_limit.stats rejected 2
    has tcp_conn_limit.stats connections 3
    has core.tcp_info opened_connections 3
    has tcp_conn_limit.audit differences 0
    for descriptor in "${descriptors[@]}"; do
        exec {descriptor}>&-
    done
    until_true has tcp_conn_limit.stats connections 0
    has tcp_conn_limit.stats errors 0

    kill "$server"
    wait "$server"
    trap - EXIT
}

run_tests
