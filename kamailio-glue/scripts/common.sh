# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What the set-up scripts share: paths, messages, logs, stamps. Sourced.

set -euo pipefail
shopt -s inherit_errexit

# shellcheck disable=SC2034 # for those who source this
{
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
    glue=$root/kamailio-glue
    build=$root/build
    # The program that checks rules files.
    checker=tcp_conn_limit-check-rules
    # The program that shows the busiest sources, a script.
    top=tcp_conn_limit-top
}

# The scripts run the make of another project, which must not see our flags,
# variables and job server.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL

# Kamailio and its modules are compiled with -O2, as Debian does it. Kamailio's
# own default is lost when its build system saves its configuration; without this,
# nothing would be optimised.
# shellcheck disable=SC2034 # for those who source this
optimised=CC_OPT=-O2

# Prints the file name of the library. It ends with the number of the C ABI.
library_name() {
    printf 'libtcp_conn_limit.so.%s\n' \
        "$(sed -n 's/^#define TCL_ABI //p' "$root/include/tcp_conn_limit.h")"
}

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "error: $*"
    exit 1
}

# The seconds between two lines of `report_progress`.
progress_interval=20

# report_progress LOG: prints the last line of LOG from time to time, as long as the
# script runs. `sleep` may run on for a moment after that, so it must not keep the
# script's outputs open.
report_progress() {
    local began=$SECONDS
    while sleep "$progress_interval" >/dev/null 2>&1 3>&- && kill -0 "$$"; do
        say "    $((SECONDS - began)) s: $(tail -n 1 "$1" | tr -dc '[:print:]' | cut -c 1-70)"
    done
}

# logged LOG WHAT COMMAND...: runs COMMAND with its output in LOG. While it runs, reports
# the progress. If it fails, prints that WHAT failed, the errors and last lines of LOG,
# and where LOG is.
logged() {
    local log=$1 what=$2 result progress
    shift 2
    mkdir -p "$(dirname "$log")"
    : >"$log"
    report_progress "$log" &
    progress=$!
    # Not in an `if`: there, bash ignores `set -e` inside COMMAND.
    set +e
    (
        set -e
        "$@"
    ) >"$log" 2>&1
    result=$?
    kill "$progress" 2>/dev/null
    wait "$progress" 2>/dev/null
    set -e
    if [ "$result" -ne 0 ]; then
        say "error: $what failed; errors and last lines of ${log#"$root/"}:"
        { grep -m 10 -E '(^|[^[:alnum:]_])([Ee]rror|ERROR|E):' "$log" || [ $? -eq 1 ]; } |
            sed 's/^/    /' >&2
        say "    ..."
        tail -n 10 "$log" | sed 's/^/    /' >&2
        exit 1
    fi
}

# put FOLDER FILE...: moves copies of the files to FOLDER, in this order. It renames
# them, because a server may be starting or running with the files that are there.
# It replaces none if there is no disk space for all.
put() {
    local folder=$1 file
    shift
    for file in "$@"; do
        install -p -m 755 "$file" "$folder/${file##*/}.new"
    done
    for file in "$@"; do
        mv -f "$folder/${file##*/}.new" "$folder/${file##*/}"
    done
}

# once STAMP KEY WHAT COMMAND...: runs COMMAND unless STAMP says that it has
# succeeded with this KEY. The log is next to the stamp.
once() {
    local stamp=$1 key=$2 what=$3
    shift 3
    if [ -f "$stamp" ] && [ "$(<"$stamp")" = "$key" ]; then
        return
    fi
    rm -f "$stamp"
    say "$what ..."
    logged "${stamp%.done}.log" "$what" "$@"
    printf '%s\n' "$key" >"$stamp"
}
