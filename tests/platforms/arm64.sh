#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The library and the module on arm64, in Debian's arm64 server, on a machine of another
# architecture: arm64.sh [TEST...]
# Everything is cross-built, and the server runs in qemu's user mode. Without TEST, a
# server with the module interposed is started, limited, audited and stopped. TEST is
# part of the name of a test of tests/kamailio; it runs natively against that server.
#
# The packages are downloaded with a private apt configuration and unpacked in
# build/arm64/. Nothing is installed for arm64, no foreign architecture is added, and
# there is no chroot.
#
# These do not run here:
# - the hooks: Debian's server does not have them;
# - app_jsdt (KEMI in JavaScript): it ends the emulated server with signal 11, also
#   without our module;
# - the tests that read the server's ELF file or kill and stop its processes by what
#   /proc says of them: the process is qemu's;
# - weak memory order: qemu on x86-64 orders memory as x86-64 does. `make loom` covers it;
# - pages of 16 or 64 KiB, huge pages, and the speed of a real machine.

source "$(dirname "${BASH_SOURCE[0]}")/../../kamailio-glue/scripts/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../../kamailio-glue/scripts/apt.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../../kamailio-glue/scripts/tree.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../../kamailio-glue/scripts/mirror.sh"
source "$(dirname "${BASH_SOURCE[0]}")/rust.sh"
source "$(dirname "${BASH_SOURCE[0]}")/probe.sh"

on_debian || fail "this is not Debian, so the packages cannot be fetched from its archive"
[ "$(dpkg --print-architecture)" = amd64 ] || fail "this is for a machine with amd64"

# The suite whose server has the sources of `fetch.sh`.
suite=trixie
target=aarch64-unknown-linux-gnu
out=$build/arm64
server=$out/root
rust=$out/rust
modules=$server/usr/lib/aarch64-linux-gnu/kamailio/modules

# The server with all packages that it depends on.
fetch_server() {
    local archive folder
    for archive in $(archives); do
        echo "deb [signed-by=$keyring arch=arm64 target=Packages] $archive $suite main"
    done >"$work/sources.list"
    apt_for arm64 update
    rm -f "$work"/cache/archives/*.deb
    apt_for arm64 install --yes --download-only kamailio kamailio-tls-modules netbase
    unpack "$work/cache/archives" "$server"
    # As base-files has it, which is not among them.
    for folder in bin lib sbin; do
        [ -e "$server/$folder" ] || ln -s "usr/$folder" "$server/$folder"
    done
}

# build_library: with Debian's rustc, so that it fits the standard library.
build_library() {
    use_rust "$rust"
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    cd "$root"
    cargo build --release --lib --locked --target "$target" --target-dir "$out/target"
}

# build_module TREE: `make cfg` writes to the tree, so it gets a copy.
build_module() {
    local cross=(CC=aarch64-linux-gnu-gcc ARCH=aarch64 HOST_ARCH=aarch64) library
    library=$(library_name)
    if [ ! -f "$out/tree/src/config.mak" ]; then
        rm -rf "$out/tree"
        mkdir -p "$out/tree"
        tar -C "$1" -cf - Makefile src | tar -C "$out/tree" -xf -
        make -C "$out/tree/src" "${cross[@]}" cfg
    fi
    mirror "$out/tree" "$out/module" "$glue/tcp_conn_limit"
    ln -sfn "$root/include" "$out/module/include"
    install -m 644 "$out/target/$target/release/libtcp_conn_limit.so" "$out/module/$library"
    ln -sfn "$library" "$out/module/libtcp_conn_limit.so"
    make -C "$mirrored" "${cross[@]}" "$optimised" TCL_LIBDIR=../../.. TCL_INCDIR=../../../include
    put "$modules" "$out/module/$library" "$mirrored/tcp_conn_limit.so"
}

# A program that runs the server, for tests that start one.
write_wrapper() {
    local name
    for name in kamailio kamcmd; do
        cat >"$out/$name" <<-END
			#!/bin/sh
			exec qemu-aarch64-static -L '$server' '$server/usr/sbin/$name' "\$@"
		END
        chmod 755 "$out/$name"
    done
}

# machine FILE: prints the machine that an ELF file is for.
machine() {
    readelf --file-header "$1" | sed -n 's/^ *Machine: *//p'
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
private_apt "$work"
tree=$("$glue/scripts/fetch.sh")
once "$out/rust.done" "$(os_release VERSION_CODENAME) $(declare -f fetch_rust)" \
    "[1/4] fetching Debian's Rust for amd64 and arm64" fetch_rust "$rust" libstd-rust-web-dev:arm64
once "$out/server.done" "$suite $(declare -f fetch_server)" \
    "[2/4] fetching the arm64 server of $suite" fetch_server
say "[3/4] building the library and the module for arm64 ..."
logged "$out/library.log" "building the library for arm64" build_library
logged "$out/module.log" "building the module for arm64" build_module "$tree"
write_wrapper
say "[4/4] running the server ..."
if [ $# -eq 0 ]; then
    probe "$out/kamailio" "$out/kamcmd" "$modules"
    say "arm64: library for $(machine "$modules/$(library_name)")"
else
    source "$(dirname "${BASH_SOURCE[0]}")/../support/test_binary.sh"
    binary=$(test_binary)
    export STOCK_KAMAILIO=$out/kamailio HOOKED_KAMAILIO=$out/kamailio KAMCMD=$out/kamcmd
    export MODULE_PATH=$modules STOCK_MODULE_PATH=$modules
    "$binary" "$@"
fi
