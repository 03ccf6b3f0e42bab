# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A server with a limit of 3, for tests of what the scripts build. Sourced, after
# suite.sh.

: "${KAMCMD:?run make test}"

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

# has COMMAND FIELD NUMBER: succeeds if FIELD of the server's answer is NUMBER.
has() {
    rpc "$1" 2>/dev/null | grep -qx "[[:space:]]*$2: $3"
}

# Succeeds if the process that starts last is running.
is_up() {
    rpc core.psa 2>/dev/null | grep -q "tcp main"
}

# start SERVER MODULES [LINE]: starts the server with the modules in the folders MODULES,
# and with LINE in its configuration. Sets server to its process and port to its port.
start() {
    port=$(free_port)
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
		${3-}
		request_route { exit; }
	EOF
    "$1" -DD -E -f "$PWD/kamailio.cfg" -L "$2" -w "$PWD" -Y "$PWD" -P "$PWD/pid" >log 2>&1 &
    server=$!
    trap 'kill "$server" 2>/dev/null; cat log' EXIT
    until_true is_up
}

# is_limited ATTACHMENT: checks that the module is attached in this way, that exactly the
# limit is admitted, and that the counts are right in the end.
is_limited() {
    local descriptors=() descriptor
    says "attached: $1" rpc tcp_conn_limit.stats
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
}

# Ends the server and checks that it ends cleanly.
stop() {
    kill "$server"
    wait "$server"
    trap - EXIT
}
