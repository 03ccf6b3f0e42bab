#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The library and the module with the C library musl, as on Alpine, on a Debian machine:
# musl.sh. A server with the module interposed is started, limited, audited and stopped.
# It is run by hand, since Alpine's own compiler and Rust need none of this.
#
# Rust's standard library is built from Debian's sources of it, because Debian has none
# for musl. Kamailio's core and two of its modules are built with musl-gcc from the
# sources of `fetch.sh`. Debian's Rust is unpacked in build/musl/. TLS, the tests of
# tests/kamailio and a panic of the library do not run here.

source "$(dirname "${BASH_SOURCE[0]}")/../../kamailio-glue/scripts/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../../kamailio-glue/scripts/apt.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../../kamailio-glue/scripts/tree.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../../kamailio-glue/scripts/mirror.sh"
source "$(dirname "${BASH_SOURCE[0]}")/rust.sh"
source "$(dirname "${BASH_SOURCE[0]}")/probe.sh"

on_debian || fail "this is not Debian, so the packages cannot be fetched from its archive"
[ "$(dpkg --print-architecture)" = amd64 ] || fail "this is for a machine with amd64"
"$glue/scripts/deps.sh" build musl

target=x86_64-unknown-linux-musl
out=$build/musl
rust=$out/rust
modules=$out/tree/src/modules
library=$(library_name)
# The headers of the kernel, which musl does not have.
headers="-idirafter /usr/include -idirafter /usr/include/x86_64-linux-gnu"

# Debian's libgcc_s needs glibc, so libgcc_eh, which is static, is linked instead. It calls
# a function of glibc to find an object; if that fails, it searches the loaded objects
# itself.
write_shim() {
    mkdir -p "$out/lib"
    echo "GROUP ( -lgcc_eh -lgcc )" >"$out/lib/libgcc_s.so"
    cat >"$out/shim.c" <<-'END'
		#include <stddef.h>
		int _dl_find_object(void *address, void *result);
		int _dl_find_object(void *address, void *result)
		{
			(void)address;
			(void)result;
			return -1;
		}
	END
    musl-gcc -O2 -fPIC -c "$out/shim.c" -o "$out/shim.o"
}

build_library() {
    write_shim
    use_rust "$rust"
    cd "$root"
    # -Zbuild-std is not stable; a stable rustc accepts it with RUSTC_BOOTSTRAP.
    RUSTC_BOOTSTRAP=1 \
        CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=musl-gcc \
        RUSTFLAGS="-Ctarget-feature=-crt-static -Clink-self-contained=no -Lnative=$out/lib -Clink-arg=$out/shim.o" \
        cargo build --release --lib --locked --target "$target" --target-dir "$out/target" \
        -Zbuild-std=std,panic_unwind
}

build_server() {
    local compiler="musl-gcc $headers"
    rm -rf "$out/tree"
    mkdir -p "$out/tree"
    tar -C "$1" -cf - Makefile src utils/kamcmd | tar -C "$out/tree" -xf -
    make -C "$out/tree/src" CC="$compiler" cfg
    make -C "$out/tree/src" CC="$compiler" core/cfg.tab.c core/cfg.tab.h core/lex.yy.c
    make -C "$out/tree/src" -j "$(nproc)" CC="$compiler" LD="$compiler" "$optimised" kamailio
    make -C "$out/tree/src" CC="$compiler" LD="$compiler" "$optimised" modules modules="modules/kex modules/ctl"
    # Debian's readline is for glibc.
    make -C "$out/tree/utils/kamcmd" use_readline=0 PKGREADLINE=1
}

build_module() {
    mirror "$out/tree" "$out/module" "$glue/tcp_conn_limit"
    ln -sfn "$root/include" "$out/module/include"
    install -m 644 "$out/target/$target/release/libtcp_conn_limit.so" "$out/module/$library"
    ln -sfn "$library" "$out/module/libtcp_conn_limit.so"
    make -C "$mirrored" CC="musl-gcc $headers" LD="musl-gcc $headers" "$optimised" \
        TCL_LIBDIR=../../.. TCL_INCDIR=../../../include
    mkdir -p "$modules/tcp_conn_limit"
    put "$modules/tcp_conn_limit" "$out/module/$library" "$mirrored/tcp_conn_limit.so"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
private_apt "$work"
tree=$("$glue/scripts/fetch.sh")
once "$out/rust.done" "$(os_release VERSION_CODENAME) $(declare -f fetch_rust)" \
    "[1/4] fetching Debian's Rust and its sources" fetch_rust "$rust" rust-web-src
say "[2/4] building the standard library and the library for musl ..."
logged "$out/library.log" "building the library for musl" build_library
once "$out/server.done" "$tree $headers $(declare -f build_server)" \
    "[3/4] building the server for musl" build_server "$tree"
logged "$out/module.log" "building the module for musl" build_module
say "[4/4] running the server ..."
if readelf --dynamic "$modules/tcp_conn_limit/$library" | grep -q 'libc.so.6'; then
    fail "the library needs glibc"
fi
probe "$out/tree/src/kamailio" "$out/tree/utils/kamcmd/kamcmd" "$modules"
say "musl: $("$out/tree/src/kamailio" -v | sed -n 1p)"
