# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A server with a limit of 3, interposed, on another platform: it limits, counts and ends
# cleanly. Sourced, after common.sh; `work` is a temporary folder.

# until_true COMMAND...: waits until COMMAND succeeds, for at most 60 seconds.
until_true() {
    local end=$((SECONDS + 60))
    until "$@"; do
        if [ "$SECONDS" -ge "$end" ]; then
            cat "$work/log" >&2
            fail "did not succeed within 60 s: $*"
        fi
        sleep 0.2
    done
}

rpc() {
    "$kamcmd" -s "unix:$work/ctl.sock" "$@"
}

# has COMMAND FIELD VALUE: succeeds if FIELD of the server's answer is VALUE.
has() {
    rpc "$1" 2>/dev/null | grep -qx "[[:space:]]*$2: $3"
}

is_up() {
    rpc core.psa 2>/dev/null | grep -q "tcp main"
}

# probe KAMAILIO KAMCMD MODULES: starts the server, opens 6 connections and closes them.
probe() {
    local kamailio=$1 kamcmd=$2 modules=$3 port=15300 descriptors=() descriptor pid
    cat >"$work/kamailio.cfg" <<-END
		#!KAMAILIO
		debug=1
		children=1
		tcp_children=1
		listen=tcp:127.0.0.1:$port
		loadmodule "kex.so"
		loadmodule "ctl.so"
		modparam("ctl", "binrpc", "unix:$work/ctl.sock")
		loadmodule "tcp_conn_limit.so"
		modparam("tcp_conn_limit", "tcp_conn_limit", 3)
		request_route { exit; }
	END
    "$kamailio" -DD -E -f "$work/kamailio.cfg" -L "$modules" -w "$work" -Y "$work" \
        -P "$work/pid" >"$work/log" 2>&1 &
    pid=$!
    trap 'kill "$pid" 2>/dev/null; rm -rf "$work"' EXIT
    until_true is_up
    has tcp_conn_limit.stats attached interpose
    for _ in 1 2 3 4 5 6; do
        exec {descriptor}<>"/dev/tcp/127.0.0.1/$port"
        descriptors+=("$descriptor")
    done
    until_true has tcp_conn_limit.stats rejected 3
    has tcp_conn_limit.stats connections 3
    has core.tcp_info opened_connections 3
    has tcp_conn_limit.audit differences 0
    for descriptor in "${descriptors[@]}"; do
        exec {descriptor}>&-
    done
    until_true has tcp_conn_limit.stats connections 0
    has tcp_conn_limit.audit differences 0
    has tcp_conn_limit.stats errors 0
    kill "$pid"
    wait "$pid"
    trap 'rm -rf "$work"' EXIT
    say "6 connections, limit 3: 3 admitted, 3 rejected; 2 audits without a difference"
}
