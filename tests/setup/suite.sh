# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Functions for test scripts. run_tests runs the functions test_* of the script that
# sources this file, each in its own shell and its own empty folder.

set -euo pipefail
shopt -s inherit_errexit

# The tests read the output of other tools; LANGUAGE would override LC_ALL.
export LC_ALL=C.UTF-8
unset LANGUAGE

# shellcheck disable=SC2034 # for those who source this
{
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
    library=libtcp_conn_limit.so.$(sed -n 's/^#define TCL_ABI //p' "$root/include/tcp_conn_limit.h")
}

: "${STOCK_KAMAILIO:?run make test}" "${HOOKED_KAMAILIO:?run make test}"

# The project's make must see the variables that a test sets, and no others.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL KAMAILIO KAMAILIO_SRC DESTDIR MODULES_DIR

# project TARGET [VARIABLE=VALUE...]: runs the project's make.
project() {
    make -C "$root" "$@"
}

# loads SERVER FOLDER: checks that SERVER accepts a configuration with the module in
# FOLDER.
loads() {
    cat >kamailio.cfg <<-EOF
		#!KAMAILIO
		listen=tcp:127.0.0.1:5060
		loadmodule "tcp_conn_limit.so"
		request_route { exit; }
	EOF
    env -u LD_LIBRARY_PATH "$1" -c -L "$2" -f "$PWD/kamailio.cfg"
}

# refused TEXT COMMAND...: checks that COMMAND fails and prints TEXT.
refused() {
    local text=$1 output
    shift
    if output=$("$@" 2>&1); then
        echo "not refused: $*"
        return 1
    fi
    says "$text" echo "$output"
}

# says TEXT COMMAND...: checks that COMMAND succeeds and prints TEXT.
says() {
    local text=$1 output
    shift
    output=$("$@" 2>&1)
    if [[ $output != *"$text"* ]]; then
        printf 'expected: %s\nfound:    %s\n' "$text" "$output"
        return 1
    fi
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

run_tests() {
    local test folder result passed=0 failed=0
    all=$(mktemp -d)
    trap 'rm -rf "$all"' EXIT
    for test in $(compgen -A function test_); do
        folder=$all/$test
        mkdir "$folder"
        set +e
        (
            set -e
            cd "$folder"
            "$test"
        ) >"$folder.output" 2>&1
        result=$?
        set -e
        if [ "$result" -eq 0 ]; then
            echo "ok      $test"
            passed=$((passed + 1))
        else
            echo "FAILED  $test"
            sed 's/^/    /' "$folder.output"
            failed=$((failed + 1))
        fi
        rm -rf "$folder"
    done
    echo "${0##*/}: $passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
