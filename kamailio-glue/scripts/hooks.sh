#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The connection hooks in a Kamailio source tree: hooks.sh patch|unpatch|status TREE

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/apt.sh"
source "$(dirname "${BASH_SOURCE[0]}")/tree.sh"
source "$(dirname "${BASH_SOURCE[0]}")/buildsystem.sh"

command=$1
given=$2
tree=$(tree_path "$given")

# No fuzz: where the lines around a hunk have changed, stop instead of guessing.
# --force: never mistake a patch for its own reverse.
run_patch() {
    LC_ALL=C patch --force --fuzz=0 --strip=1 --directory="$tree" "$@" <"$hooks_patch"
}

# Prints the hunks of the patch, one a line: FILE NUMBER.
all_hunks() {
    awk '
        /^\+\+\+ / { file = $2; sub(/^b\//, "", file); number = 0 }
        /^@@ / { print file, ++number }
    ' "$hooks_patch"
}

# fitting_hunks [--reverse]: prints the hunks that could be applied to the tree.
fitting_hunks() {
    # If a hunk does not fit, patch exits with 1. That is a result here, not an error.
    { run_patch --dry-run --verbose "$@" 2>&1 || [ $? -eq 1 ]; } | awk '
        /^checking file / { file = $3 }
        /^Hunk #[0-9]+ succeeded/ { print file, substr($2, 2) }
    '
}

# Prints each hunk and its state: in, out, or neither (the tree has other lines there).
hunk_states() {
    awk '
        FILENAME == ARGV[1] { out[$0] = 1; next }
        FILENAME == ARGV[2] { in_tree[$0] = 1; next }
        { print $0, (in_tree[$0] ? "in" : out[$0] ? "out" : "neither") }
    ' <(fitting_hunks) <(fitting_hunks --reverse) <(all_hunks)
}

# hunk_lines FILE NUMBER: prints the lines of the hunk as they are without the
# patch, or, for a tree that has hooks, with it.
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

# describe FILE NUMBER: says which line of the hunk is not in the tree.
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
    say "  $file, hunk $number: its lines are there, but not next to each other"
}

# Prints the state of the hooks: in, out, misfit, partial, altered or abi.
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

# Says what is wrong with the hooks in the tree and how to repair it.
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
            say "the hooks are in the tree only in part; missing hunks:"
            list out
            ;;
        altered)
            say "the hooks in the tree are not those of core-hooks.patch (another version, or edited by hand):"
            list neither
            ;;
        abi)
            say "the hooks in the tree have ABI $(tree_hooks_abi "$tree"), core-hooks.patch has ABI $(hooks_abi "$hooks_patch")"
            ;;
    esac
    say "remedy: run 'make unpatch' with the tcp_conn_limit that patched the tree, or restore its original"
    say "src/core/tcp_conn.h and src/core/tcp_main.c and remove src/core/tcp_conn_hooks.[ch]; then run 'make patch'"
}

list() {
    local file number hunk_state
    while read -r file number hunk_state; do
        if [ "$hunk_state" != "$1" ]; then
            continue
        fi
        if [ "$hunk_state" = neither ]; then
            describe "$file" "$number"
        else
            say "  $file, hunk $number"
        fi
    done <<<"$hunks"
}

apply() {
    if [ ! -w "$tree/src/core" ]; then
        fail "cannot write to $tree/src/core: run this as a user with write permission"
    fi
    run_patch --quiet --no-backup-if-mismatch --reject-file=- "$@" >&2
}

# Says what the tree's own files say about the build system of its server.
show_configuration() {
    local ways way title="configured:" file
    mapfile -t ways < <(configured_ways "$tree" "$given")
    for way in "${ways[@]}"; do
        printf '%-13s%s\n' "$title" "$(describe_way "$way")"
        title=
    done
    if [ ${#ways[@]} -eq 0 ]; then
        echo "configured:  no"
    fi
    file=$(packaging "$tree")
    if [ -n "$file" ]; then
        echo "packaging:   $file, with $(packaging_system "$tree" "$file")"
    fi
    # The error says what to do.
    if way=$(only_way "$tree" "$given" own 2>&1); then
        echo "module:      for a server built with $(describe_way "$way")"
    else
        say "${way#error: }"
    fi
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
        say "now rebuild and install this Kamailio as usual"
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
        if has_cmake "$tree" && [ "$(tree_cmake_version "$tree")" != "$(tree_version "$tree")" ]; then
            echo "             $(tree_cmake_version "$tree") if built with CMake"
        fi
        case $state in
            in) echo "hooks:       in, ABI $(tree_hooks_abi "$tree")" ;;
            out) echo "hooks:       not in; core-hooks.patch fits (make patch)" ;;
            misfit) echo "hooks:       not in; core-hooks.patch does not fit" ;;
            partial) echo "hooks:       in, but only in part" ;;
            altered) echo "hooks:       in, ABI $(tree_hooks_abi "$tree"), but not as in core-hooks.patch" ;;
            abi) echo "hooks:       in, but with another ABI: $(tree_hooks_abi "$tree")" ;;
        esac
        show_configuration
        explain
        ;;
    *)
        explain
        fail "nothing was changed in $tree"
        ;;
esac
