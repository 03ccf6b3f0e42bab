# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Whether a server will load a module. Sourced, after common.sh.
#
# A server loads a module only if two strings in it equal its own: the version, with
# architecture and system, and the compile flags.

# file_strings FILE: prints the version and the flags in a module or server, one a line.
file_strings() {
    local regex
    for regex in '[[:alnum:]_.-]+ [0-9][^ ()]* \([^ ()/]+/[^ ()/]+\)' \
        '(, EXTRA_DEBUG)?USE_TCP(, [[:alnum:]_-]+){3,}'; do
        { LC_ALL=C grep --text --null-data --only-matching --max-count=1 -E -- "$regex" "$1" || [ $? -eq 1 ]; } |
            tr '\0' '\n'
    done
}

# server_strings SERVER: prints the version and the flags of a server, one a line.
server_strings() {
    local output strings
    if output=$("$1" -v 2>&1); then
        # In a git checkout, the commit follows the version.
        strings=$(sed -n -e 's/^version: \([^)]*)\).*/\1/p' -e 's/^flags: //p' <<<"$output")
    elif [ -f "$1" ]; then
        # It is for another system or architecture.
        strings=$(file_strings "$1")
    else
        fail "no such server: $1"
    fi
    if [ "$(wc -l <<<"$strings")" -ne 2 ]; then
        fail "not a Kamailio server, it shows no version and flags: $1"
    fi
    printf '%s\n' "$strings"
}

# fits SERVER MODULE: succeeds if the server would load the module. Its -v can show other
# flags than those that it compares, as that of Debian sid's 6.1.5 does, because the
# flags depend on the headers that a source file includes. So they may also be anywhere
# in its file.
fits() {
    local strings wanted
    strings=$(file_strings "$2")
    wanted=$(server_strings "$1")
    if [ "$strings" = "$wanted" ]; then
        return
    fi
    [ "$(sed -n 1p <<<"$strings")" = "$(sed -n 1p <<<"$wanted")" ] &&
        LC_ALL=C grep --text --null-data --quiet -xF -e "$(sed -n 2p <<<"$strings")" -- "$(command -v "$1")"
}

# number_of STRINGS: prints the version number in the strings.
number_of() {
    awk '{ print $2; exit }' <<<"$1"
}

# say_strings NAME STRINGS: prints the strings of NAME.
say_strings() {
    say "  $1: $(sed -n 1p <<<"$2")"
    say "    flags: $(sed -n 2p <<<"$2")"
}

# default_modules_dir SERVER: prints the first folder in which a server looks for its
# modules.
default_modules_dir() {
    local output
    if ! output=$("$1" -I 2>&1); then
        fail "$1 cannot be run here, so it does not name the folder of its modules: set MODULES_DIR"
    fi
    sed -n 's/^ *Default paths to modules: \([^:]*\).*/\1/p' <<<"$output"
}
