#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds, from copies of the Kamailio source tree TREE, in the folder OUT:
#   stock/          the unmodified server, the modules that the tests load, and kamcmd
#   hooked/         the server with core-hooks.patch applied
# or with CMake, in a build folder outside the sources:
#   cmake/          the unmodified server, and a few modules
#   cmake-hooked/   the server with core-hooks.patch applied
# Usage: servers.sh TREE OUT [make|cmake]

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/tree.sh"

tree=$1
out=$2
system=${3-make}

modules=(
    acc app_jsdt auth auth_db cfg_rpc cfgutils corex counters ctl db_text debugger dlgs
    dmq htable jsonrpcs kex maxfwd mqueue nathelper path pike pv registrar rr rtimer
    sanity sdpops siputils sl tcpops textops textopsx tls tm tmx usrloc xhttp
    xhttp_prom xhttp_rpc xlog
)

# The modules for the servers that CMake builds.
cmake_modules=(ctl kex)
# Scripts in Lua and Python are tested where their development packages are installed.
if pkg-config --exists lua5.1; then
    modules+=(app_lua)
fi
if command -v python3-config >/dev/null; then
    modules+=(app_python3)
fi
# It needs libunistring, which has no file for pkg-config.
if [ -e /usr/include/unistr.h ]; then
    modules+=(websocket)
fi

# What a build leaves in a tree; it is not copied.
built=(
    '*.o' '*.d' '*.so' '*.so.*' config.mak modules.lst makecfg.lst librpath.lst
    src/kamailio utils/kamcmd/kamcmd src/core/lex.yy.c 'src/core/cfg.tab.*'
    src/core/autover.h
)
parts=(Makefile src utils/kamcmd etc)
if [ "$system" = cmake ]; then
    parts+=(CMakeLists.txt README INSTALL cmake doc utils/kamctl)
fi

# Prints a text that changes with every change of the tree's sources.
fingerprint() {
    local pattern unless=()
    for pattern in "${built[@]}"; do
        unless+=(! -path "*/${pattern##*/}")
    done
    cd "$tree"
    find "${parts[@]}" -type f "${unless[@]}" -printf '%p %s %T@\n' | sort | sha256sum
}

copy() {
    rm -rf "$1"
    mkdir -p "$1"
    tar -C "$tree" "${built[@]/#/--exclude=}" -cf - "${parts[@]}" | tar -C "$1" -xf -
}

build_core() {
    make -C "$1/src" cfg
    # In parallel they would be generated twice, one reading what the other writes.
    make -C "$1/src" core/cfg.tab.c core/cfg.tab.h core/lex.yy.c
    make -C "$1/src" -j "$(nproc)" "$optimised" kamailio
}

build_stock() {
    copy "$out/stock"
    "$glue/scripts/hooks.sh" unpatch "$out/stock"
    build_core "$out/stock"
}

build_modules() {
    make -C "$out/stock/src" -j "$(nproc)" "$optimised" modules modules="${modules[*]/#/modules/}"
    make -C "$out/stock/utils/kamcmd"
}

# From what is built of the stock server. The dates of the files are kept, so make builds
# again only what the patch changes. The modules are those of the stock server.
build_hooked() {
    rm -rf "$out/hooked"
    mkdir -p "$out/hooked"
    tar -C "$out/stock" --exclude='src/modules/*.[do]' --exclude='src/modules/*.so' \
        -cf - "${parts[@]}" | tar -C "$out/hooked" -xf -
    "$glue/scripts/hooks.sh" patch "$out/hooked"
    make -C "$out/hooked/src" -j "$(nproc)" "$optimised" kamailio
}

# cmake_server FOLDER TARGET...: builds the targets. Without optimisation, as CMake does
# in a git checkout, it takes half the time.
cmake_server() {
    local folder=$1
    shift
    rm -rf "$folder/build"
    cmake -S "$folder/source" -B "$folder/build" -DCMAKE_BUILD_TYPE=Debug -DBUILD_DOC=OFF \
        -DCMAKE_INSTALL_LIBDIR=lib64 -DMODULE_GROUP_NAME= -DINCLUDE_MODULES="${cmake_modules[*]}"
    cmake --build "$folder/build" --parallel "$(nproc)" --target "$@"
}

build_cmake() {
    copy "$out/cmake/source"
    "$glue/scripts/hooks.sh" unpatch "$out/cmake/source"
    cmake_server "$out/cmake" kamailio "${cmake_modules[@]}"
}

build_cmake_hooked() {
    copy "$out/cmake-hooked/source"
    "$glue/scripts/hooks.sh" patch "$out/cmake-hooked/source"
    cmake_server "$out/cmake-hooked" kamailio
}

mkdir -p "$out"
# The modules contain the absolute paths of the tree's libraries.
source_key="$out $(fingerprint)"
hooks_key=$(sha256sum <"$hooks_patch")

case $system in
    make)
        stock_key=$(sha256sum <<<"$source_key $optimised $(declare -f copy build_core build_stock)")
        modules_key=$(sha256sum <<<"$stock_key ${modules[*]}")
        hooked_key=$(sha256sum <<<"$stock_key $hooks_key $(declare -f build_hooked)")

        name="Kamailio $(tree_version "$tree")"
        once "$out/stock.done" "$stock_key" "[2/5] building the stock server, $name (about 40 s)" build_stock
        once "$out/modules.done" "$modules_key" "[3/5] building the server's modules (about a minute)" build_modules
        once "$out/hooked.done" "$hooked_key" "[4/5] building the server with the hooks (about 15 s)" build_hooked
        ;;
    cmake)
        cmake_key=$(sha256sum <<<"$source_key ${cmake_modules[*]} $(declare -f copy cmake_server)")
        name="Kamailio $(tree_cmake_version "$tree")"
        once "$out/cmake.done" "$cmake_key" "building a server with CMake, $name" build_cmake
        once "$out/cmake-hooked.done" "$cmake_key $hooks_key" "building one with the hooks" build_cmake_hooked
        ;;
    *)
        fail "usage: servers.sh TREE OUT [make|cmake]"
        ;;
esac
