#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The alerts for Prometheus, with promtool (Debian's package prometheus): they are valid,
# and each fires when it should and only then. Without promtool these tests are skipped:
# make test does not install the package, because it starts a server; .ci/run does.

source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

monitoring=$root/kamailio-glue/monitoring

copy() {
    cp "$monitoring"/alerts*.yml .
}

test_alerts_are_valid() {
    copy
    says "SUCCESS: $(grep -c -- '- alert:' alerts.yml) rules" promtool check rules alerts.yml
}

test_alerts_fire_when_they_should() {
    copy
    promtool test rules alerts.test.yml alerts.days.test.yml
}

# Prints the alerts that are changed in ./alerts.yml, one a line. No line is added or removed.
changed_alerts() {
    awk '
        FNR == NR { changed[FNR] = $0; next }
        /- alert: / { alert = $NF }
        $0 != changed[FNR] { print alert }
    ' alerts.yml "$monitoring/alerts.yml" | sort -u
}

# groups_of FILE ALERT...: prints FILE with only the groups of tests that name one of the
# alerts. Groups are independent of each other, so if one of these fails, FILE fails. Empty
# lines separate them.
groups_of() {
    awk -v RS= -v alerts="$(printf '|%s' "${@:2}")" '
        BEGIN { named = "(" substr(alerts, 2) ")([^A-Za-z]|$)" }
        NR == 1 { print $0 "\n\ntests:"; next }
        { sub(/^tests:\n/, "") }
        $0 ~ named { print $0 "\n" }
    ' "$1"
}

# change_fails FILE FROM TO: checks that the tests in FILE which name the changed alert
# notice when the alerts have TO instead of FROM. All tests would take ten times as long.
change_fails() {
    local folder alerts
    folder=$(mktemp -d -p .)
    cd "$folder"
    copy
    FROM=$2 TO=$3 perl -pi -e 's/\Q$ENV{FROM}\E/$ENV{TO}/' alerts.yml
    if cmp -s alerts.yml "$monitoring/alerts.yml"; then
        echo "not in alerts.yml: $2"
        return 1
    fi
    echo "$2 -> $3"
    mapfile -t alerts < <(changed_alerts)
    groups_of "$1" "${alerts[@]}" >groups.test.yml
    # The result of a test, not an error in the file.
    refused "got:" promtool test rules groups.test.yml
}

# each_change_fails FILE: reads lines FROM|TO, and checks them with change_fails, on each core
# one at a time.
each_change_fails() {
    local from to running=0
    while IFS='|' read -r from to; do
        if ((running == $(nproc))); then
            wait -n
            running=$((running - 1))
        fi
        change_fails "$1" "$from" "$to" &
        running=$((running + 1))
    done
    while ((running > 0)); do
        wait -n
        running=$((running - 1))
    done
}

test_each_alert_is_tested() {
    local alert
    while read -r alert; do
        echo "alert: $alert|alert: Other"
    done < <(sed -n 's/.*- alert: //p' "$monitoring/alerts.yml") >changes
    grep -v MonitorForgotten changes | each_change_fails alerts.test.yml
    grep -E 'MonitorForgotten|Gone|Absent' changes | each_change_fails alerts.days.test.yml
}

test_each_threshold_is_tested() {
    each_change_fails alerts.test.yml <<-'EOF'
		limit_rejected[5m]) > 0|limit_rejected[5m]) > 6
		rate_rejected[5m]) > 0|rate_rejected[5m]) > 6
		network_rejected[5m]) > 0|network_rejected[5m]) > 6
		move_invalid[15m]) > 0|move_invalid[15m]) > 10
		move_rejected[5m]) > 0|move_rejected[5m]) > 6
		near_network_limit > 0|near_network_limit >= 0
		bans[5m]) > 20|bans[5m]) > 10
		bans[5m]) > 20|bans[5m]) > 40
		forgotten[15m]) > 0|forgotten[15m]) > 3
		rejected[1m]) > 100|rejected[1m]) > 80
		rejected[1m]) > 100|rejected[1m]) > 130
		limit_shield == 2|limit_shield >= 1
		limit_shield == 2|limit_shield != 1
		shield_unlisted > 0|shield_unlisted >= 0
		shield_dropped[5m]) > 100|shield_dropped[5m]) > 80
		shield_dropped[5m]) > 100|shield_dropped[5m]) > 120
		would_reject[1h]) > 0 and kamailio_tcp_conn_limit_mode == 1|would_reject[1h]) > 0
		would_ban[1h]) > 0 and kamailio_tcp_conn_limit_mode == 1|would_ban[1h]) > 0
		table_full[5m]) +|table_full[5m]) -
		full_rejected[5m]) > 0|full_rejected[5m]) > 1
		untracked_rejected[5m]) > 0|untracked_rejected[5m]) < 0
		increase(kamailio_tcp_conn_limit_bad_address[15m])|0
		capacity > 0.8|capacity >= 0.8
		mode == 2|mode >= 1
		pressure_level > 0|pressure_level > 2
		pressure_level > 0|pressure_level >= 0
		reserve_used > 0|reserve_used > 49
		reserve_used > 0|reserve_used >= 0
		limit_reserve_used >= |limit_reserve_used > 
		 and kamailio_tcp_conn_limit_reserve > 0|
		near_limit > 0|near_limit >= 0
		bans_refused[10m]) > 0|bans_refused[10m]) >= 0
		bans_refused[10m]) > 0|bans_refused[10m]) > 12
		for: 20m|for: 5m
		untrusted_rejected[15m]) > 100|untrusted_rejected[15m]) > 80
		untrusted_rejected[15m]) > 100|untrusted_rejected[15m]) > 130
		limit_untrusted > 10|limit_untrusted >= 10
		limit_trusted == 0|limit_trusted >= 0
		became_trusted[1h]) == 0|became_trusted[1h]) >= 0
		limit_limit == 0 and|limit_limit >= 0 and
		 and kamailio_tcp_conn_limit_mode < 2|
		[1d]) unless kamailio_tcp_conn_limit_capacity|[1d]) == 2048
		absent(kamailio_tcp_conn_limit_capacity)|vector(1)
	EOF
    each_change_fails alerts.days.test.yml <<-'EOF'
		          min_over_time(kamailio_tcp_conn_limit_mode[14d]) == 1|          max_over_time(kamailio_tcp_conn_limit_mode[14d]) == 1
		          and kamailio_tcp_conn_limit_mode offset 14d == 1|
		capacity[1d])|capacity[2d])
	EOF
}

if ! command -v promtool >/dev/null; then
    echo "${0##*/}: skipped, promtool is not installed"
    exit
fi
run_tests
