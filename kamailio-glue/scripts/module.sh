#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds the module for the Kamailio source tree TREE: module.sh [--package] TREE [OUT]
# The folder OUT gets tcp_conn_limit.so, the library, a link to it for the linker, and the
# program that checks rules files. TREE can also be a folder in which CMake builds. With
# --package, the module is for a packaged server.
#
# KAMAILIO is the server that the module is for. Then the module is built in each way
# that the tree allows, until the server would load it. Otherwise the tree's packaging
# or configuration decides.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/apt.sh"
source "$(dirname "${BASH_SOURCE[0]}")/tree.sh"
source "$(dirname "${BASH_SOURCE[0]}")/buildsystem.sh"
source "$(dirname "${BASH_SOURCE[0]}")/fit.sh"
source "$(dirname "${BASH_SOURCE[0]}")/mirror.sh"

purpose=own
if [ "$1" = --package ]; then
    purpose=package
    shift
fi
given=$1
tree=$(tree_path "$given")
out=${2-$(user_module "$tree")}
mkdir -p "$out"
out=$(cd "$out" && pwd -P)
server=${KAMAILIO-}

abi=$(tree_hooks_abi "$tree")
if [ -n "$abi" ] && [ "$abi" != "$(hooks_abi "$hooks_patch")" ]; then
    fail "the hooks in $tree have ABI $abi, but the module needs ABI $(hooks_abi "$hooks_patch"): see 'make status KAMAILIO_SRC=$tree'"
fi

# FORTIFY_SOURCE needs an optimised build, so it is not in the module's own build files.
fortified="-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2"

# Objects depend on the configuration and on whether the tree has hooks, but make only
# compares dates, and the files of a tree that was unpacked or copied again can be older
# than the objects.
forget_objects_of_other_settings() {
    local stamp=$out/settings now
    now="$abi $(sha256sum <"$out/src/config.mak")"
    if [ -f "$stamp" ] && [ "$(<"$stamp")" = "$now" ]; then
        return
    fi
    rm -f "$mirrored"/*.[do] "$mirrored/tcp_conn_limit.so"
    printf '%s\n' "$now" >"$stamp"
}

run_make() {
    if [ "$1" = default ]; then
        make -C "$out/src" cfg-defs
    fi
    forget_objects_of_other_settings
    make -C "$mirrored" -j "$(nproc)" "$optimised $fortified" TCL_LIBDIR=../../.. TCL_INCDIR=../../../include
}

# All is built again, which takes seconds, because the settings may have changed.
run_cmake() {
    local options=() flags=
    if [ "$1" != default ]; then
        cmake_settings "$1" >"$out/cmake/settings.cmake"
        options=(-C "$out/cmake/settings.cmake")
        flags=$(cache_value "$1" CMAKE_C_FLAGS)
    fi
    # Without a search path other than the one in the module's CMakeLists.txt.
    cmake -S "$out/cmake/tree" -B "$out/cmake/build" -G "Unix Makefiles" "${options[@]}" \
        -DCMAKE_C_FLAGS="$flags -O2 $fortified" -DCMAKE_SKIP_RPATH=ON \
        -DUSE_GIT=OFF -DBUILD_DOC=OFF -DMODULE_GROUP_NAME= -DEXCLUDE_MODULES= \
        -DINCLUDE_MODULES=tcp_conn_limit -DTCL_LIBDIR="$out" -DTCL_INCDIR="$root/include"
    cmake --build "$out/cmake/build" --parallel "$(nproc)" --target tcp_conn_limit
}

# build_module WAY: builds the module and sets built to its path.
build_module() {
    case $1 in
        make*)
            mirror "$tree" "$out" "$glue/tcp_conn_limit"
            logged "$out/module.log" "building the module with make" run_make "${1#make }"
            built=$mirrored/tcp_conn_limit.so
            ;;
        cmake*)
            "$glue/scripts/deps.sh" cmake
            rm -rf "$out/cmake"
            cmake_mirror "$tree" "$out/cmake/tree" "$glue/tcp_conn_limit"
            logged "$out/module.log" "building the module with CMake" run_cmake "${1#cmake }"
            built=$out/cmake/build/src/modules/tcp_conn_limit/tcp_conn_limit.so
            ;;
    esac
}

# Fails if the tree is of another version than the server.
check_number() {
    local number versions
    number=$(number_of "$strings")
    versions=$(
        tree_version "$tree"
        if has_cmake "$tree"; then
            tree_cmake_version "$tree"
        fi
    )
    if ! grep -qxF -- "$number" <<<"$versions"; then
        fail "the server $server is $(sed -n 1p <<<"$strings"), but $tree is the source tree of Kamailio $(tree_version "$tree"): KAMAILIO_SRC must be that of $number"
    fi
}

# Builds the module in each possible way until it fits the server. Sets way.
build_for_server() {
    local ways failures=
    strings=$(server_strings "$server")
    check_number
    mapfile -t ways < <(possible_ways "$tree" "$given" "$(sed -n 1p <<<"$strings")")
    for way in "${ways[@]}"; do
        build_module "$way"
        if fits "$server" "$built"; then
            return
        fi
        failures+=$(say_strings "module, built with $(describe_way "$way")" "$(file_strings "$built")" 2>&1)$'\n'
    done
    say "error: no module built from $tree fits the server $server, which would refuse it:"
    say_strings server "$strings"
    printf '%s' "$failures" >&2
    fail "version and flags must be the same: configure $tree as that server was built"
}

# Says if a server that was built in the tree would not load the module.
compare_with_server_in_tree() {
    local other
    other=$(way_server "$tree" "$way")
    if [ -z "$other" ]; then
        return
    fi
    if ! fits "$other" "$built"; then
        say "warning: the server $other would refuse this module; is it older than the tree or its configuration?"
        say_strings server "$(server_strings "$other")"
        say_strings module "$(file_strings "$built")"
    fi
}

cd "$root"
cargo build --release --lib --target-dir "$root/target"
ln -sfn "$root/include" "$out/include"
library=$(library_name)
# cargo names it without the ABI.
ln -f "$root/target/release/libtcp_conn_limit.so" "$root/target/release/$library"
put "$out" "$root/target/release/$library"
ln -sfn "$library" "$out/libtcp_conn_limit.so"
if [ -n "$server" ]; then
    build_for_server
else
    way=$(only_way "$tree" "$given" "$purpose")
    build_module "$way"
    compare_with_server_in_tree
fi
put "$out" "$built"
printf '%s\n' "$way" >"$out/way"
# It finds the library as the module does.
# shellcheck disable=SC2016 # the dynamic linker replaces $ORIGIN
"${CC:-cc}" -O2 -Wall -Wextra -fPIE -pie -I"$root/include" \
    -o "$root/target/release/$checker" "$glue/tools/check-rules.c" -L"$out" -ltcp_conn_limit \
    -Wl,--disable-new-dtags,-rpath,'$ORIGIN',-z,relro,-z,now
put "$out" "$root/target/release/$checker"
if [ -n "$abi" ]; then
    kind="with the connection hooks"
else
    kind="without hooks (attach \"interpose\")"
fi
say "module for $(file_strings "$built" | sed -n 1p), $kind: ${out#"$root/"}/tcp_conn_limit.so"
say "built with $(describe_way "$way")"
