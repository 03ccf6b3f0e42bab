# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What the set-up scripts share: where things are and how they speak. Sourced.

set -euo pipefail
shopt -s inherit_errexit

# shellcheck disable=SC2034 # for those who source this
{
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
    glue=$root/kamailio-glue
    build=$root/build
}

# The scripts run the make of another project, which must not see our flags,
# variables and job server.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL

# How Kamailio and its modules are compiled, as Debian does it. Kamailio's own
# default is lost when its build system saves its configuration, and then nothing
# is optimised at all.
# shellcheck disable=SC2034 # for those who source this
optimised=CC_OPT=-O2

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "error: $*"
    exit 1
}

# logged LOG WHAT COMMAND...: the output of COMMAND goes to LOG; if it fails,
# says WHAT failed, why, and where the rest is to be read.
logged() {
    local log=$1 what=$2 result
    shift 2
    mkdir -p "$(dirname "$log")"
    # not in an `if`: there, bash ignores `set -e` inside COMMAND
    set +e
    (
        set -e
        "$@"
    ) >"$log" 2>&1
    result=$?
    set -e
    if [ "$result" -ne 0 ]; then
        say "error: $what: failed; errors and last lines of ${log#"$root/"}:"
        { grep -m 10 -E '(^|[^[:alnum:]_])([Ee]rror|ERROR|E):' "$log" || [ $? -eq 1 ]; } |
            sed 's/^/    /' >&2
        say "    ..."
        tail -n 10 "$log" | sed 's/^/    /' >&2
        exit 1
    fi
}

# put FOLDER FILE...: puts the files there, in this order, by renames, since a server may
# be starting or running with those that are there. None, if there is no room for all.
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

# once STAMP KEY WHAT COMMAND...: runs COMMAND unless STAMP says that it came
# to its end with this KEY. The log lies beside the stamp.
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
