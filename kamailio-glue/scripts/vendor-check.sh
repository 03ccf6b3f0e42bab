#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Checks that the library can be built without a network, as distributions do:
# from the crate that `cargo package` creates, with all crates vendored and an empty
# CARGO_HOME.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root"

cargo package --quiet --locked --allow-dirty --no-verify --target-dir "$work/package"
mkdir "$work/source" "$work/cargo-home"
tar -xzf "$work"/package/package/tcp_conn_limit-*.crate -C "$work/source" --strip-components=1
cd "$work/source"
mkdir .cargo
# With --quiet it would not print the configuration either.
cargo vendor --locked vendor >.cargo/config.toml 2>"$work/vendor.log" ||
    { cat "$work/vendor.log"; fail "cargo vendor failed, see above"; }
logged "$build/vendor-check.log" "building from vendored crates" \
    env CARGO_HOME="$work/cargo-home" \
    cargo build --release --lib --locked --offline --target-dir "$work/target"
if [ -e "$work/cargo-home/registry/cache" ]; then
    fail "the build used crates that are not vendored"
fi
[ -f "$work/target/release/libtcp_conn_limit.so" ]
say "vendor check: the library builds offline from $(find vendor -mindepth 1 -maxdepth 1 | wc -l) vendored crates"
