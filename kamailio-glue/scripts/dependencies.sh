#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Checks the crates that are linked in against deny.toml: dependencies.sh quick|full
#   quick  licences, duplicates and sources, with cargo alone
#   full   the same and more with cargo-deny, which is built in build/ (some
#          minutes), and advisories, also of the crates of tests, benchmarks and
#          fuzz targets, if the advisory database can be reached: at its home, or as
#          a clone in the folder ADVISORY_DB

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

deny_version=0.20.2
deny=$build/tools/cargo-deny-$deny_version

# Prints the crates except our own: NAME vVERSION|LICENCE.
crates() {
    cargo tree --locked --edges normal --prefix none --no-dedupe --format '{p}|{l}' |
        grep -v '^tcp_conn_limit ' | LC_ALL=C sort -u
}

# Of an expression A OR B one licence must be allowed. An expression with AND or
# brackets fails, so that a person judges it.
allowed() {
    local licence
    for licence in ${1// OR / }; do
        case " $allow " in
            *" $licence "*) return ;;
        esac
    done
    return 1
}

quick() {
    local allow crates name version licence duplicates foreign bad=0
    crates=$(crates)
    allow=$(sed -n 's/^allow = \[\(.*\)\]$/\1/p' deny.toml | tr -d '",')
    while IFS=' |' read -r name version licence; do
        if ! allowed "$licence"; then
            say "error: $name $version: licence not allowed: $licence"
            bad=1
        fi
        if ! grep -qw -- "$name" kamailio-glue/debian/copyright; then
            say "error: $name $version is not in kamailio-glue/debian/copyright"
            bad=1
        fi
    done <<<"$crates"
    duplicates=$(cut -d' ' -f1 <<<"$crates" | uniq -d)
    if [ -n "$duplicates" ]; then
        say "error: more than one version of: $duplicates"
        bad=1
    fi
    foreign=$(sed -n 's/^source = "\(.*\)"$/\1/p' Cargo.lock tests/fuzz/Cargo.lock | sort -u |
        grep -v '^registry+https://github.com/rust-lang/crates.io-index$' || true)
    if [ -n "$foreign" ]; then
        say "error: Cargo.lock or tests/fuzz/Cargo.lock has crates from: $foreign"
        bad=1
    fi
    [ "$bad" -eq 0 ] || exit 1
    say "dependencies: licences, versions and sources of $(wc -l <<<"$crates") crates are allowed; advisories not checked"
}

install_deny() {
    cargo install --quiet --locked "cargo-deny@$deny_version" --root "$deny" \
        --target-dir "$deny/target"
    rm -rf "$deny/target"
}

full() {
    local from=https://github.com/RustSec/advisory-db
    once "$deny.done" "$deny_version" "building cargo-deny (some minutes)" install_deny
    "$deny/bin/cargo-deny" --locked --exclude-dev check bans licenses sources
    # Nothing of the fuzz targets is linked into what is distributed.
    local fuzz=(--manifest-path tests/fuzz/Cargo.toml --config deny.toml)
    "$deny/bin/cargo-deny" "${fuzz[@]}" --locked check sources
    if [ -n "${ADVISORY_DB-}" ]; then
        # Makes git use the clone instead of the database's home.
        export GIT_CONFIG_COUNT=1 GIT_CONFIG_VALUE_0=$from
        export GIT_CONFIG_KEY_0=url.file://$ADVISORY_DB.insteadOf
    elif ! timeout 30 git ls-remote --quiet --exit-code "$from" HEAD >/dev/null 2>&1; then
        say "ADVISORIES NOT CHECKED: cannot reach $from; set ADVISORY_DB to a clone of it"
        return
    fi
    "$deny/bin/cargo-deny" --locked --workspace --all-features check advisories
    "$deny/bin/cargo-deny" "${fuzz[@]}" --locked check advisories
}

case ${1-} in
    quick) quick ;;
    full) quick && full ;;
    *) fail "usage: dependencies.sh quick|full" ;;
esac
