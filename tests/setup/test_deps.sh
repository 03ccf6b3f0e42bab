#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A Rust that is too old or missing is an error that says where there is a newer one.

source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$root/Cargo.toml")

# tool NAME TEXT: creates an executable in bin/ that prints TEXT.
tool() {
    mkdir -p bin
    printf '#!/bin/sh\necho "%s"\n' "$2" >"bin/$1"
    chmod +x "bin/$1"
}

# archive PACKAGE VERSION...: creates an apt-cache for an archive with these packages.
archive() {
    mkdir -p bin
    {
        # shellcheck disable=SC2016 # The executable expands it.
        printf '#!/bin/sh\ncase $2 in\n'
        while [ $# -gt 0 ]; do
            printf '%s) printf "%s:\\n  Installed: (none)\\n  Candidate: %s\\n" ;;\n' "$1" "$1" "$2"
            shift 2
        done
        printf 'esac\n'
    } >bin/apt-cache
    chmod +x bin/apt-cache
}

deps() {
    PATH=$PWD/bin:$PATH "$root/kamailio-glue/scripts/deps.sh" build
}

test_installed_rust_is_new_enough() {
    deps
}

test_first_version_is_new_enough() {
    tool rustc "rustc $wanted.0 (0123456 2025-06-23)"
    tool cargo "cargo $wanted.0 (0123456 2025-05-10)"
    deps
}

test_rust_of_debian_12_is_refused_with_a_remedy() {
    tool rustc "rustc 1.63.0"
    tool cargo "cargo 1.65.0"
    archive rustc 1.63.0+dfsg1-2 rustc-web 1.96.0+dfsg3-1~deb12u1
    refused "Rust $wanted or newer is needed, but rustc is 1.63.0: run 'sudo apt-get install rustc-web cargo-web'" deps
}

test_older_cargo_is_refused() {
    tool rustc "rustc 1.99.0"
    tool cargo "cargo 1.65.0"
    archive rustc 1.63.0+dfsg1-2 rustc-web 1.96.0+dfsg3-1~deb12u1
    refused "but cargo is 1.65.0" deps
}

test_plain_packages_are_proposed_if_they_are_new_enough() {
    tool rustc "rustc 1.63.0"
    archive rustc 1.99.0+dfsg1-1 rustc-web 1.96.0+dfsg3-1
    refused "sudo apt-get install rustc cargo'" deps
}

test_archive_without_new_packages_proposes_rustup_and_an_update() {
    tool rustc "rustc 1.63.0"
    archive rustc 1.63.0+dfsg1-2
    refused "https://rustup.rs" deps
    refused "sudo apt-get update" deps
}

run_tests
