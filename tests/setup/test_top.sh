#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# tcp_conn_limit-top with answers of a kamcmd of the test. tests/kamailio/operator/tables.rs
# runs it with a real server.

source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

top=$root/kamailio-glue/tools/tcp_conn_limit-top
export KAMCMD=

# answers: makes a kamcmd that writes its arguments to asked and prints a file named like
# the command.
answers() {
    KAMCMD=$PWD/kamcmd
    cat >kamcmd <<-'EOF'
		#!/bin/sh
		echo "$@" >>asked
		for command in "$@"; do
		    [ ! -f "$command" ] || exec cat "$command"
		done
		exit 1
	EOF
    chmod +x kamcmd
    printf '{\n\tversion: 0.1.0\n\tmode: monitor\n\tlimit: none\n\tsources: 2\n\tconnections: 12\n\tadmitted: 20\n\trejected: 0\n\twould_reject: 7\n}\n' >tcp_conn_limit.stats
    printf '{\n\tsource: 2001:db8::/64\n\tconnections: 9\n\tlimit: 12\n\tpeak: 11\n\trejected: 3\n\twould_reject: 4\n\tlast_seen: 1\n\tlast_seen_local: 2026-11-27T14:02:32+00:00\n\trule: default\n\trate: 10/s\n\tburst: 20\n\towed: 17\n\tbanned: 34\n}\n{\n\tsource: 192.0.2.1\n\tconnections: 3\n\tlimit: none\n\tpeak: 3\n\trejected: 0\n\twould_reject: 0\n\tlast_seen: 77\n\trule: 192.0.2.0/24\n}\n' >tcp_conn_limit.top
}

test_each_source_has_a_line() {
    answers
    "$top" --once >shown
    grep -qE '^tcp_conn_limit 0\.1\.0  mode monitor  limit none  sources 2  connections 12$' shown
    grep -qE '^2001:db8::/64 +9 +12 +75% +11 +7 +17 +34  2026-11-27T14:02:32\+00:00 default$' shown
    # Without a limit there is no share of it, and large answers have no local time. Without
    # a rate nothing is owed, and this one is not banned.
    grep -qE '^192\.0\.2\.1 +3 +none +- +3 +0 +- +-  77 +192\.0\.2\.0/24$' shown
    [ "$(wc -l <shown)" -eq 6 ]
}

test_options_are_passed_on() {
    answers
    "$top" -1 -n 5 -b peak -s unix:/run/x.sock >/dev/null
    grep -qx -- '-s unix:/run/x.sock tcp_conn_limit.stats' asked
    grep -qx -- '-s unix:/run/x.sock tcp_conn_limit.top 5 peak' asked
}

test_wrong_options_are_refused() {
    answers
    refused "expected a number from 1 to 400" "$top" -n 0
    refused "expected a number from 1 to 400" "$top" -n 401
    refused "expected a number from 1 to 400" "$top" -n 4294967297
    refused "expected a number from 1 to 400" "$top" -n 1.5
    refused "expected seconds" "$top" -i 0
    refused "expected connections, rejected, peak, rate or untrusted" "$top" -b size
    refused "needs a value" "$top" -n
    refused "unknown option --twice" "$top" --twice
    [ ! -e asked ]
}

test_no_server_is_an_error() {
    answers
    rm tcp_conn_limit.top
    refused "kamcmd fails" "$top" --once
    echo "error: 500 - command tcp_conn_limit.top not found" >tcp_conn_limit.top
    refused "command tcp_conn_limit.top not found" "$top" --once
}

test_it_refreshes_until_it_is_interrupted() {
    answers
    timeout --signal=INT 4 "$top" -i 1 >shown || [ $? -eq 124 ]
    [ "$(grep -c '^SOURCE' shown)" -ge 2 ]
    [ "$(grep -c $'\033\\[H\033\\[2J' shown)" -ge 2 ]
}

run_tests
