#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The connection hooks in a Kamailio source tree: hooks.sh patch|unpatch|status TREE

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/tree.sh"

command=$1
tree=$(tree_path "$2")

# A changed neighbourhood is a reason to stop, not to guess: no fuzz.
# --force: never take a patch for its own reverse.
run_patch() {
    LC_ALL=C patch --force --fuzz=0 --strip=1 --directory="$tree" "$@" <"$hooks_patch"
}

# The hunks of the patch, one a line: FILE NUMBER
all_hunks() {
    awk '
        /^\+\+\+ / { file = $2; sub(/^b\//, "", file); number = 0 }
        /^@@ / { print file, ++number }
    ' "$hooks_patch"
}

# fitting_hunks [--reverse]: those that could be applied to the tree
fitting_hunks() {
    # patch fails if one of them does not fit, which is for us to find out
    { run_patch --dry-run --verbose "$@" 2>&1 || [ $? -eq 1 ]; } | awk '
        /^checking file / { file = $3 }
        /^Hunk #[0-9]+ succeeded/ { print file, substr($2, 2) }
    '
}

# Each hunk with its place: in, out, or neither (the tree has other lines there)
hunk_states() {
    awk '
        FILENAME == ARGV[1] { out[$0] = 1; next }
        FILENAME == ARGV[2] { in_tree[$0] = 1; next }
        { print $0, (in_tree[$0] ? "in" : out[$0] ? "out" : "neither") }
    ' <(fitting_hunks) <(fitting_hunks --reverse) <(all_hunks)
}

# hunk_lines FILE NUMBER: what the hunk's place holds without the patch, or, in
# a tree that has hooks, with it
hunk_lines() {
    local sign=-
    if [ "$state" != misfit ]; then
        sign=+
    fi
    awk -v wanted="$1 $2" -v sign="$sign" '
        /^\+\+\+ / { file = $2; sub(/^b\//, "", file); number = 0; next }
        /^(diff|---) / { inside = 0; next }
        /^@@ / { inside = (file " " ++number == wanted); next }
        inside && index(" " sign, substr($0, 1, 1)) { print substr($0, 2) }
    ' "$hooks_patch"
}

# describe FILE NUMBER: the hunk, and what of it is not in the tree
describe() {
    local file=$1 number=$2 line
    if [ ! -f "$tree/$file" ]; then
        say "  $file: not found"
        return
    fi
    while IFS= read -r line; do
        if ! grep -qFx -e "$line" "$tree/$file"; then
            say "  $file, hunk $number: line not found: $line"
            return
        fi
    done < <(hunk_lines "$file" "$number")
    say "  $file, hunk $number: its lines are not together"
}

# State of the hooks: in, out, misfit, partial, altered, abi
hooks_state() {
    local hunks=$1 abi
    if ! grep -qv ' in$' <<<"$hunks"; then
        echo in
    elif ! grep -qv ' out$' <<<"$hunks"; then
        echo out
    elif ! grep -q ' neither$' <<<"$hunks"; then
        echo partial
    else
        abi=$(tree_hooks_abi "$tree")
        if [ -z "$abi" ] && ! grep -q ' in$' <<<"$hunks"; then
            echo misfit
        elif [ -n "$abi" ] && [ "$abi" != "$(hooks_abi "$hooks_patch")" ]; then
            echo abi
        else
            echo altered
        fi
    fi
}

# What is wrong with the hooks in the tree, and what to do about it
explain() {
    case $state in
        in | out)
            return
            ;;
        misfit)
            say "core-hooks.patch does not fit this tree:"
            list neither
            return
            ;;
        partial)
            say "the hooks are in the tree only in part; missing:"
            list out
            ;;
        altered)
            say "the hooks in the tree are not those of core-hooks.patch: an older version, or edited by hand:"
            list neither
            ;;
        abi)
            say "the hooks in the tree have ABI $(tree_hooks_abi "$tree"), core-hooks.patch has ABI $(hooks_abi "$hooks_patch")"
            ;;
    esac
    say "remedy: 'make unpatch' with the tcp_conn_limit that patched the tree, or put back its own"
    say "src/core/tcp_conn.h and src/core/tcp_main.c and remove src/core/tcp_conn_hooks.[ch]; then 'make patch'"
}

list() {
    local file number place
    while read -r file number place; do
        if [ "$place" != "$1" ]; then
            continue
        fi
        if [ "$place" = neither ]; then
            describe "$file" "$number"
        else
            say "  $file, hunk $number"
        fi
    done <<<"$hunks"
}

apply() {
    if [ ! -w "$tree/src/core" ]; then
        fail "no permission to write in $tree/src/core"
    fi
    run_patch --quiet --no-backup-if-mismatch --reject-file=- "$@" >&2
}

hunks=$(hunk_states)
state=$(hooks_state "$hunks")

case $command-$state in
    patch-in)
        say "already applied: $tree"
        ;;
    patch-out)
        apply
        say "hooks applied to $tree (Kamailio $(tree_version "$tree")); changed or new files:"
        all_hunks | awk '!seen[$1]++ { print "  " $1 }' >&2
        say "now rebuild and install that Kamailio as usual"
        ;;
    unpatch-out | unpatch-misfit)
        say "not applied: $tree"
        ;;
    unpatch-in)
        apply --reverse
        say "hooks removed from $tree (Kamailio $(tree_version "$tree"))"
        ;;
    status-*)
        echo "tree:        $tree"
        echo "version:     $(tree_version "$tree")"
        case $state in
            in) echo "hooks:       in, ABI $(tree_hooks_abi "$tree")" ;;
            out) echo "hooks:       not in; core-hooks.patch fits (make patch)" ;;
            misfit) echo "hooks:       not in; core-hooks.patch does not fit" ;;
            partial) echo "hooks:       in only in part" ;;
            altered) echo "hooks:       in, ABI $(tree_hooks_abi "$tree"), but not as in core-hooks.patch" ;;
            abi) echo "hooks:       in, with another ABI: $(tree_hooks_abi "$tree")" ;;
        esac
        if [ -f "$tree/src/config.mak" ]; then
            echo "configured:  yes"
        else
            echo "configured:  no (make cfg, in the tree)"
        fi
        explain
        ;;
    *)
        explain
        fail "nothing was changed in $tree"
        ;;
esac
