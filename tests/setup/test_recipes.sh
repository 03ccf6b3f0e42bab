#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The recipes of the module's cookbook, as they are printed there, with the packaged
# server of this machine's Debian: the programs that read them accept them, and they do
# what the text says. The tests run in network and mount namespaces of their own.

source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../support/recipe.sh"

: "${KAMCMD:?run make test}" "${MODULE_PATH:?run make test}"

export root recipes_doc library KAMCMD PACKAGED_KAMAILIO PACKAGED_MODULES PACKAGED_LIBRARIES built

# isolated FUNCTION: runs the function in namespaces of its own: with its own network
# and loopback interface, its own /dev/log, and its own processes, which end with it.
isolated() {
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        as_root=(--user --map-root-user)
    fi
    unshare "${as_root[@]}" --mount --net --pid --fork --kill-child --mount-proc \
        bash -c "set -euo pipefail
            engine=()
            shopt -s inherit_errexit
            $(declare -f)
            prepare_namespace
            $1"
}

prepare_namespace() {
    local node
    ip link set lo up
    ip address add 2001:db8:0:1::1/64 dev lo nodad
    ip address add 2001:db8:0:2::1/64 dev lo nodad
    mkdir dev
    mount -t tmpfs tmpfs dev
    for node in full null random tty urandom zero; do
        touch "dev/$node"
        mount --bind "/dev/$node" "dev/$node"
    done
    mkdir dev/shm
    ln -s /proc/self/fd dev/fd
    mount --rbind dev /dev
}

# write_config [LINE...]: writes kamailio.cfg with a limit of 1 for the ports of the
# recipes. The lines from the standard input come last.
write_config() {
    {
        printf '%s\n' '#!KAMAILIO' debug=1 children=1 tcp_children=1 "$@"
        cat <<-END
			listen=tcp:127.0.0.1:5060
			listen=udp:127.0.0.1:5060
			listen=tcp:[2001:db8:0:1::1]:5060
			listen=tcp:[2001:db8:0:2::1]:5060
			loadmodule "kex.so"
			loadmodule "cfg_rpc.so"
			loadmodule "ctl.so"
			modparam("ctl", "binrpc", "unix:$PWD/ctl.sock")
			loadmodule "tcp_conn_limit.so"
			modparam("tcp_conn_limit", "tcp_conn_limit", 1)
			modparam("tcp_conn_limit", "log_interval", 86400)
		END
        cat
    } >kamailio.cfg
}

# Runs the server with its own modules and ours, as a process of that name.
kamailio() (
    export LD_LIBRARY_PATH=$PACKAGED_LIBRARIES
    exec -a /usr/sbin/kamailio "$PACKAGED_KAMAILIO" -f "$PWD/kamailio.cfg" \
        -L "$PACKAGED_MODULES:${modules:-$built}" -w "$PWD" -Y "$PWD" -P "$PWD/pid" "$@"
)

rpc() {
    "$KAMCMD" -s "unix:$PWD/ctl.sock" "$@"
}

# has FIELD NUMBER: succeeds if a field of the module's numbers has this value.
has() {
    rpc tcp_conn_limit.stats 2>/dev/null | grep -qx "[[:space:]]*$1: $2"
}

is_up() {
    rpc core.psa 2>/dev/null | grep -q "tcp main"
}

# start [OPTION...]: starts the server in the foreground, with its log in `log`.
start() {
    kamailio -DD -E "$@" >log 2>&1 &
    until_true is_up || { cat log; return 1; }
}

# open ADDRESS COUNT: opens connections and keeps them. Those that the server rejects
# also exist for the client.
open() {
    local descriptor number
    for ((number = 0; number < $2; number++)); do
        # shellcheck disable=SC2034 # It stays open.
        exec {descriptor}<>"/dev/tcp/$1/5060"
    done
}

# connects: succeeds if a new connection is established within two seconds.
connects() {
    timeout 2 bash -c 'exec 3<>/dev/tcp/127.0.0.1/5060' 2>/dev/null
}

# --- Recipes for the server ---

# accepted: checks that the server accepts the configuration file.
accepted() {
    kamailio -c >check 2>&1 || { cat check; return 1; }
}

test_configurations_are_accepted() {
    local name
    for name in htable exec bans rates greedy; do
        recipe "$name" >part
        if [ "$name" != htable ]; then
            echo 'request_route { exit; }' >>part
        fi
        write_config <part
        accepted
    done
    recipe keepalive >part
    mapfile -t lines <part
    [ "${#lines[@]}" -eq 4 ]
    echo 'request_route { exit; }' | write_config "${lines[@]}"
    accepted
}

inside_keepalive() {
    local lines
    # Seconds instead of a minute.
    mapfile -t lines < <(recipe keepalive | sed -E 's/(keepidle|keepintvl)=.*/\1=1/; s/(keepcnt)=.*/\1=2/')
    echo 'request_route { exit; }' | write_config "${lines[@]}" tcp_connection_lifetime=3600
    start
    open 127.0.0.1 1
    until_true has connections 1
    # From now on the client's host is gone.
    nft -f - <<-'END'
		table inet gone {
		    chain output {
		        type filter hook output priority filter;
		        tcp sport 5060 drop
		        tcp dport 5060 drop
		    }
		}
	END
    until_true has connections 0
    says "differences: 0" rpc tcp_conn_limit.audit
}

test_keepalive_releases_dead_connections() {
    isolated inside_keepalive
}

inside_htable() {
    recipe htable | sed 's/    # \.\.\./    xlog("L_ERR", "answered\\n");/' >route
    { echo 'loadmodule "xlog.so"'; cat route; } | write_config
    start
    # Half a second for each rejection makes a ban of 15 s.
    open 127.0.0.1 1
    seen=0
    until_true is_answered
    seen=$(grep -c answered log)
    open 127.0.0.1 60
    until_true banned
    ask
    sleep 1
    [ "$(grep -c answered log)" -eq "$seen" ]
    says "127.0.0.1" rpc htable.dump greedy
    # The command that the text names lifts the ban.
    rpc tcp_conn_limit.unban 127.0.0.1
    until_true is_answered
}

# Asks again each time, because a datagram may get lost.
is_answered() {
    ask
    sleep 0.2
    [ "$(grep -c answered log)" -gt "$seen" ]
}

banned() {
    rpc htable.dump greedy 2>/dev/null | grep -q 127.0.0.1
}

# Sends a request over UDP, whose source has the same address. cat writes it at once.
ask() {
    printf 'OPTIONS sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK%s\r\nFrom: <sip:a@a>;tag=1\r\nTo: <sip:a@a>\r\nCall-ID: %s\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 9\r\nContent-Length: 0\r\n\r\n' "$RANDOM" "$RANDOM" |
        cat >/dev/udp/127.0.0.1/5060
}

test_htable_bans_and_releases() {
    isolated inside_htable
}

# --- fail2ban ---

# Options of the server that writes the log.
engine=()

# Starts rsyslog, which writes all that comes to /dev/log to files of three formats.
start_rsyslog() {
    cat >rsyslog.conf <<-END
		module(load="imuxsock" SysSock.Name="/dev/log")
		action(type="omfile" file="$PWD/traditional" template="RSYSLOG_TraditionalFileFormat")
		action(type="omfile" file="$PWD/iso" template="RSYSLOG_FileFormat")
		action(type="omfile" file="$PWD/rfc5424" template="RSYSLOG_SyslogProtocol23Format")
	END
    rsyslogd -n -f "$PWD/rsyslog.conf" -i "$PWD/rsyslog.pid" &
    until_true test -S /dev/log
}

# Prints what a client sends to make the core log text of its choice: a line that looks
# like a rejection.
forged() {
    printf 'NOT SIP\r\nWARNING: tcp_conn_limit [a.c:1]: f(): rejected connection from 198.51.100.66: 9 connections, limit 1, rule default\r\n 1(1) WARNING: tcp_conn_limit [a.c:1]: f(): rejected connection from 198.51.100.66: 9 connections, limit 1, rule default\r\n\r\n'
}

# be_rejected: exceeds the limit from an IPv4 address and an IPv6 address, in monitor
# mode from another one, and sends a forged line.
be_rejected() {
    open 127.0.0.1 2
    open 2001:db8:0:1::1 2
    until_true has rejected 2
    forged | cat >/dev/udp/127.0.0.1/5060
    rpc tcp_conn_limit.set_mode monitor
    open 2001:db8:0:2::1 2
    until_true has would_reject 1
}

# Writes the filter and the jail into a copy of fail2ban's folder.
write_fail2ban() {
    cp -r /etc/fail2ban fail2ban
    recipe filter >fail2ban/filter.d/tcp_conn_limit.conf
    recipe jail >fail2ban/jail.d/tcp_conn_limit.conf
    recipe action >fail2ban/action.d/tcp_conn_limit.conf
    printf '[Definition]\ndbfile = None\n' >fail2ban/fail2ban.local
    # A service of this machine, whose log need not exist here.
    printf '[sshd]\nenabled = false\n' >fail2ban/jail.d/zz-others.conf
}

# bans LOG [OPTION]: checks that the filter finds the two rejected sources in LOG, and
# nothing else.
bans() {
    local found
    found=$(fail2ban-regex --config "$PWD/fail2ban" --out ip "$1" "tcp_conn_limit${2-}" | sort | paste -sd ' ')
    if [ "$found" != "127.0.0.1 2001:db8:0:1::/64" ]; then
        echo "$1: found: $found"
        cat "$1"
        return 1
    fi
}

# Has the same lines in a journal, as systemd writes them.
write_journal() {
    local tag=$1 line number=0
    while read -r line; do
        number=$((number + 1))
        # The line without its time stamp, its host and its tag.
        printf '__REALTIME_TIMESTAMP=%s\n_HOSTNAME=host\nSYSLOG_IDENTIFIER=%s\nSYSLOG_PID=123\n_SYSTEMD_UNIT=kamailio.service\nMESSAGE=%s\n\n' \
            "$(date +%s%6N)" "$tag" "${line#*]: }"
    done <traditional | /lib/systemd/systemd-journal-remote --output="$PWD/x.journal" - >/dev/null 2>&1
}

# inside_syslog TAG FILTER_OPTIONS [LINE...]: checks the filter with each form of the
# system log, for a server with these lines in its configuration. TAG is its name there.
inside_syslog() {
    local tag=$1 options=$2 file
    shift 2
    echo 'request_route { exit; }' | write_config "$@"
    start_rsyslog
    # As Debian's unit starts it: it becomes a daemon and logs to syslog.
    kamailio "${engine[@]}"
    until_true is_up
    be_rejected
    for file in traditional iso rfc5424; do
        until_true grep -q 'rejected connection from 2001:db8:0:1::/64' "$file"
    done
    write_fail2ban
    for file in traditional iso rfc5424; do
        bans "$file" "$options"
    done
    write_journal "$tag"
    bans "systemd-journal[journalfiles=$PWD/x.journal]" "$options"
}

test_filter_fits_syslog() {
    isolated 'inside_syslog /usr/sbin/kamailio ""'
}

test_filter_fits_another_log_name() {
    isolated "inside_syslog sip-edge '[ident=sip-edge]' 'log_name=\"sip-edge\"'"
}

test_filter_fits_json() {
    isolated 'engine=(--log-engine=json); inside_syslog /usr/sbin/kamailio ""'
}

inside_stderr() {
    echo 'request_route { exit; }' | write_config
    start --log-engine=json
    be_rejected
    until_true grep -q 'rejected connection from 2001:db8:0:1::/64' log
    write_fail2ban
    # The service that runs the container writes each line to the journal.
    sed 's/^/host x[1]: /' log >traditional
    write_journal container
    bans "systemd-journal[journalfiles=$PWD/x.journal]" '[ident=\S+]'
}

test_filter_fits_json_on_standard_error() {
    isolated inside_stderr
}

test_jails_are_accepted() {
    local end
    end=$(recipe logpath)
    write_fail2ban
    fail2ban-server -t -c "$PWD/fail2ban"
    # The jail for a file: the lines of the recipe replace the two for the journal.
    : >kamailio.log
    {
        recipe jail | grep -v -e '^backend' -e '^journalmatch'
        echo "${end//\/var\/log/$PWD}"
    } >fail2ban/jail.d/tcp_conn_limit.conf
    fail2ban-server -t -c "$PWD/fail2ban"
    # As the text says, a missing file stops all of fail2ban.
    rm kamailio.log
    refused "Have not found any log file" fail2ban-server -t -c "$PWD/fail2ban"
}

inside_ban() {
    recipe sets | nft -f -
    echo 'request_route { exit; }' | write_config
    start
    write_fail2ban
    # One rejection suffices, the log is a file, and this machine's addresses count.
    recipe jail | grep -v -e '^backend' -e '^journalmatch' -e '^maxretry' >fail2ban/jail.d/tcp_conn_limit.conf
    : >server.log
    printf 'backend = polling\nlogpath = %s\nmaxretry = 1\nignoreself = false\nignoreip =\n' "$PWD/server.log" >>fail2ban/jail.d/tcp_conn_limit.conf
    fail2ban-server -b -c "$PWD/fail2ban" -s "$PWD/fail2ban.sock" -p "$PWD/fail2ban.pid" \
        --logtarget "$PWD/fail2ban.log"
    until_true fail2ban-client -s "$PWD/fail2ban.sock" status tcp_conn_limit
    open 127.0.0.1 2
    open 2001:db8:0:1::1 2
    until_true grep -q 'rejected connection from 2001:db8:0:1::/64' log
    grep 'rejected connection' log | sed "s/^/$(date '+%b %e %H:%M:%S') host kamailio:/" >>server.log
    until_true is_banned 2001:db8:0:1::/64
    until_true is_banned 127.0.0.1
    # fail2ban lists a ban before it takes effect, and also if that fails.
    until_true contains greedy6 2001:db8:0:1::/64
    until_true contains greedy4 127.0.0.1
    until_true cannot_connect
    fail2ban-client -s "$PWD/fail2ban.sock" set tcp_conn_limit unbanip 127.0.0.1
    until_true connects
}

cannot_connect() {
    ! connects
}

# is_banned SOURCE: succeeds if fail2ban lists it.
is_banned() {
    fail2ban-client -s "$PWD/fail2ban.sock" status tcp_conn_limit | grep -q "Banned IP list:.*$1"
}

test_jail_bans_and_releases() {
    isolated inside_ban
}

test_syslog_and_rotation_are_accepted() {
    recipe rsyslog >rsyslog.conf
    rsyslogd -N1 -f "$PWD/rsyslog.conf"
    recipe logrotate >logrotate.conf
    chmod 644 logrotate.conf
    says "rotating pattern: /var/log/kamailio.log" logrotate -d "$PWD/logrotate.conf"
    [ -x /usr/lib/rsyslog/rsyslog-rotate ]
}

# --- Proxies for HTTP ---

# A certificate with its key, as HAProxy reads them, and for nginx.
write_certificate() {
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost \
        -keyout key.pem -out cert.pem 2>/dev/null
    cat cert.pem key.pem >site.pem
}

test_haproxy_configuration_is_accepted() {
    write_certificate
    recipe proxies_haproxy | sed "s:/etc/haproxy/site.pem:$PWD/site.pem:" >haproxy.cfg
    grep -q "$PWD/site.pem" haproxy.cfg
    haproxy -c -f "$PWD/haproxy.cfg" >check 2>&1 || { cat check; return 1; }
    # It has no warning either.
    ! grep -i warning check
}

test_nginx_configuration_is_accepted() {
    {
        printf 'pid %s;\nerror_log stderr;\nevents {}\n' "$PWD/nginx.pid"
        printf 'http {\naccess_log off;\nserver {\nlisten 127.0.0.1:8080;\n'
        recipe proxies_nginx
        printf '}\n}\n'
    } >nginx.conf
    nginx -e stderr -t -p "$PWD" -c "$PWD/nginx.conf"
}

# The packaged server of the other recipes has no module for WebSockets here.
test_script_for_proxies_is_accepted() {
    {
        printf '%s\n' '#!KAMAILIO' listen=tcp:127.0.0.1:5060 'loadmodule "sl.so"' 'loadmodule "pv.so"'
        recipe proxies
        echo 'request_route { exit; }'
    } >kamailio.cfg
    "$HOOKED_KAMAILIO" -c -L "$MODULE_PATH" -f "$PWD/kamailio.cfg" >check 2>&1 || { cat check; return 1; }
}

# --- nftables ---

inside_nft_bans() {
    recipe sets | nft -f -
    recipe script >sip-ban
    chmod 755 sip-ban
    # What the socket unit does.
    mkfifo fifo
    ./sip-ban <>fifo &
    { recipe exec | sed "s:/run/sip-ban:$PWD/fifo:"; echo 'request_route { exit; }'; } | write_config
    start
    connects
    # The module bans a source for half a second for each rejection, from 15 s on.
    open 127.0.0.1 60
    open 2001:db8:0:1::1 60
    until_true contains greedy4 127.0.0.1
    until_true contains greedy6 2001:db8:0:1::/64
    if connects; then
        echo "the banned source connects"
        return 1
    fi
    # Only addresses are taken.
    # shellcheck disable=SC2016 # They are to arrive as they are.
    printf '%s\n' 'x; reboot' '192.0.2.1 }; flush ruleset; #' '$(reboot)' 192.0.2.1 \
        '192.0.2.1 5s }; flush ruleset; #' '192.0.2.2 60' >fifo
    until_true contains greedy4 192.0.2.2
    [ "$(nft list set inet sip greedy4 | grep -c 192.0.2.1)" -eq 0 ]
    # The commands of the text.
    recipe unban | sed "s/192.0.2.1/127.0.0.1/; s/{/\"{/; s/}/}\"/; s|^kamcmd|$KAMCMD -s unix:$PWD/ctl.sock|" >commands
    sh -eu commands
    until_true connects
}

# contains SET ELEMENT
contains() {
    nft list set inet sip "$1" | grep -q -- "$2"
}

test_pipe_bans_and_releases() {
    isolated inside_nft_bans
}

inside_rate() {
    local number
    recipe rate | nft -f -
    echo 'request_route { exit; }' | write_config
    start
    # In one process, which is faster than the rate also on a machine with other work.
    # shellcheck disable=SC2016
    timeout 3 bash -c 'for ((n = 0; n < 300; n++)); do
        exec {fd}<>/dev/tcp/127.0.0.1/5060 && echo
    done' >admitted 2>/dev/null || true
    # The burst, and what the rate admits while each dropped attempt waits.
    number=$(wc -l <admitted)
    echo "admitted: $number"
    [ "$number" -ge 40 ] && [ "$number" -lt 150 ]
    nft list set inet siprate rate4 | grep 127.0.0.1
}

test_rate_is_limited() {
    isolated inside_rate
}

inside_nft_limit() {
    # The recipe with a limit of 5, and an address without a limit.
    recipe nft | sed 's/1024/5/; s/1024/5/; s:203.0.113.0/24:127.0.0.2:' | nft -f -
    echo 'request_route { exit; }' | write_config
    start
    rpc tcp_conn_limit.set_mode off
    open 127.0.0.1 5
    until_true has connections 5
    if connects; then
        echo "a sixth connection is admitted"
        return 1
    fi
    open 2001:db8:0:1::1 5
    ! timeout 2 bash -c 'exec 3<>/dev/tcp/2001:db8:0:1::1/5060' 2>/dev/null || return 1
    until_true has connections 10
}

test_nftables_limit_is_exact() {
    isolated inside_nft_limit
}

test_haproxy_accepts_the_recipe() {
    recipe haproxy >haproxy.cfg
    haproxy -c -f haproxy.cfg
}

inside_cut() {
    recipe cut >commands
    echo 'request_route { exit; }' | write_config
    start
    rpc tcp_conn_limit.set_limit 10
    open 127.0.0.1 5
    open 2001:db8:0:1::1 3
    until_true has connections 8
    sed -i 's/198.51.100.7/127.0.0.1/; s/5061/5060/' commands
    sh -eu commands
    until_true has connections 3
    says "differences: 0" rpc tcp_conn_limit.audit
}

test_open_connections_are_cut() {
    isolated inside_cut
}

# --- Running the server ---

test_units_are_valid() {
    mkdir -p units/kamailio.service.d
    cp "${PACKAGED_KAMAILIO%/usr/sbin/kamailio}"/lib/systemd/system/kamailio.service units/
    recipe hardening >units/kamailio.service.d/hardening.conf
    recipe socket >units/sip-ban.socket
    recipe service >units/sip-ban.service
    # The programs of the units need not be installed here.
    sed -i "s:^ExecStart=[^ ]*:ExecStart=/bin/true:" units/*.service
    SYSTEMD_UNIT_PATH=$PWD/units: systemd-analyze verify --man=no units/*.service units/*.socket >found 2>&1 ||
        { cat found; return 1; }
    if grep -F "$PWD/units" found; then
        return 1
    fi
}

# hardened COMMAND...: runs it with the restrictions of the recipe that no service
# manager is needed for: no new privileges, no capability, no memory that is both
# writable and executable, a read-only file system.
hardened() {
    # shellcheck disable=SC2016 # Perl's variables.
    setpriv --no-new-privs --bounding-set=-all --inh-caps=-all \
        perl -MPOSIX -e '
            # prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN)
            my $prctl = {x86_64 => 157, aarch64 => 167}->{(POSIX::uname())[4]};
            syscall($prctl, 65, 1, 0, 0, 0) == 0 or die "no PR_SET_MDWE: $!\n";
            exec @ARGV or die "$ARGV[0]: $!\n";
        ' "$@"
}

inside_hardening() {
    echo 'request_route { exit; }' | write_config
    mount --bind "$PWD" "$PWD"
    cd "$PWD"
    mount -o remount,bind,ro /
    export -f kamailio
    hardened bash -c 'kamailio -DD -E' >log 2>&1 &
    until_true is_up || { cat log; return 1; }
    open 127.0.0.1 3
    until_true has rejected 2
    has connections 1
    says "differences: 0" rpc tcp_conn_limit.audit
    says "attached: interpose" rpc tcp_conn_limit.stats
    until_true grep -q 'rejected connection from 127.0.0.1' log
    rpc tcp_conn_limit.set_limit 5
    open 127.0.0.1 4
    until_true has connections 5
}

test_hardened_server_limits() {
    isolated inside_hardening
}

# Installs the files as the text says while the server has them mapped.
inside_replace() {
    mkdir modules
    cp "$built/tcp_conn_limit.so" "$built/$library" modules/
    export modules=$PWD/modules
    echo 'request_route { exit; }' | write_config
    start
    open 127.0.0.1 1
    recipe replace | sed "s:/usr/lib/x86_64-linux-gnu/kamailio/modules/:$PWD/modules/:; s:libtcp_conn_limit.so[.0-9]*:$built/$library:; s: tcp_conn_limit.so: $built/tcp_conn_limit.so:" >commands
    sh -eu commands
    open 127.0.0.1 2
    until_true has rejected 2
    says "differences: 0" rpc tcp_conn_limit.audit
    accepted
}

test_installing_does_not_disturb_the_server() {
    isolated inside_replace
}

test_containerfile_is_that_of_the_text() {
    recipe container >text
    grep -v '^#' "$root/kamailio-glue/container/Containerfile" | diff text -
    # The library's name has the number of the ABI.
    grep -qF "$library" text
}

eval "$("$root/kamailio-glue/scripts/packaged.sh")"
built=$root/build/module-packaged
KAMAILIO=$PACKAGED_KAMAILIO "$root/kamailio-glue/scripts/module.sh" --package "$PACKAGED_SRC" "$built" 2>/dev/null
run_tests
