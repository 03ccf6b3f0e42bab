#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The module for servers that CMake has built: with the settings of the tree, or for a
# given server. A module that the server would refuse is neither installed nor packed.

source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"
source "$(dirname "${BASH_SOURCE[0]}")/server.sh"

scripts=$root/kamailio-glue/scripts
"$scripts/deps.sh" build cmake package
tree=$("$scripts/fetch.sh")
servers=$root/build/cmake-servers
"$scripts/servers.sh" "$tree" "$servers" cmake

stock=$servers/cmake
hooked=$servers/cmake-hooked
stock_server=$stock/build/src/kamailio
hooked_server=$hooked/build/src/kamailio
# The server's own modules.
modules=$stock/build/src/modules/kex:$stock/build/src/modules/ctl

by_cmake="kamailio 6.0.0-rc0 (x86_64/Linux)"
by_make="kamailio 6.0.1 (x86_64/linux)"

# files_below FOLDER: prints the files with their times.
files_below() {
    find "$1" -type f -printf '%p %T@\n' | sort
}

# flags MODULE: prints the compile flags of a module.
flags() {
    (
        # shellcheck source=../../kamailio-glue/scripts/fit.sh
        source "$scripts/fit.sh"
        file_strings "$1" | sed -n 2p
    )
}

# lacks TEXT COMMAND...: checks that COMMAND succeeds and does not print TEXT.
lacks() {
    local text=$1 output
    shift
    output=$("$@")
    if [[ $output == *"$text"* ]]; then
        printf 'not expected: %s\n' "$text"
        return 1
    fi
}

# configure TREE FOLDER [OPTION...]: lets CMake configure the folder for the tree.
configure() {
    cmake -S "$1" -B "$2" -DMODULE_GROUP_NAME= -DINCLUDE_MODULES=kex -DBUILD_DOC=OFF "${@:3}"
}

# copy_tree FOLDER: copies the stock server's sources, as they are released, but with only
# a few of its modules.
copy_tree() {
    mkdir -p "$1"
    tar -C "$stock/source" --exclude='./src/modules/[a-z]*' -cf - . | tar -C "$1" -xf -
    cp -a "$stock/source/src/modules/kex" "$1/src/modules/"
    # The module reads headers of these.
    cp -a "$stock/source/src/modules"/{jsonrpcs,dmq,tm} "$1/src/modules/"
}

# imitate VERSION FLAGS: creates an executable that shows this version and these flags.
imitate() {
    printf '#!/bin/sh\necho "version: %s "\necho "flags: %s"\n' "$1" "$2" >server
    chmod +x server
}

# way_file TREE: prints the file that says how the module for the tree was built last.
way_file() {
    (
        # shellcheck source=../../kamailio-glue/scripts/common.sh
        source "$scripts/common.sh"
        # shellcheck source=../../kamailio-glue/scripts/tree.sh
        source "$scripts/tree.sh"
        echo "$(user_module "$1")/way"
    )
}

# The module for the stock server. The tests that only install it share one build.
stock_module() {
    local file
    file=$(way_file "$stock/source")
    if [ ! -f "$file" ] || [ "$(<"$file")" != "cmake $stock/build" ]; then
        project module KAMAILIO_SRC="$stock/source"
    fi
}

# limits SERVER ATTACHMENT: checks that the server with the module in module/ is limited.
limits() {
    start "$1" "$modules:$PWD/module"
    is_limited "$2"
    stop
}

test_build_folder_gives_a_module_that_limits() {
    files_below "$servers" >before
    says "$by_cmake" project module KAMAILIO_SRC="$stock/source"
    project install KAMAILIO_SRC="$stock/source" DESTDIR="$PWD" MODULES_DIR=/module
    files_below "$servers" | diff before - # Nothing is written to tree or build folder.
    limits "$stock_server" interpose
}

test_module_with_hooks_limits() {
    says "with the connection hooks" project module KAMAILIO_SRC="$hooked/build"
    project install KAMAILIO_SRC="$hooked/build" DESTDIR="$PWD" MODULES_DIR=/module
    limits "$hooked_server" hooks
}

test_server_selects_the_build_system() {
    # The tree itself is configured for make.
    copy_tree tree
    make -C tree/src cfg
    says "$by_make" project module KAMAILIO_SRC="$PWD/tree"
    says "built with CMake" project package-module KAMAILIO_SRC="$PWD/tree" \
        KAMAILIO="$stock_server" PACKAGE_DIR="$PWD/module"
    limits "$stock_server" interpose
    says "built with make" project module KAMAILIO_SRC="$PWD/tree" KAMAILIO="$STOCK_KAMAILIO"
}

test_unconfigured_tree_and_server_give_a_module() {
    copy_tree tree
    files_below tree >before
    refused "set KAMAILIO to the server" project module KAMAILIO_SRC="$PWD/tree"
    project package-module KAMAILIO_SRC="$PWD/tree" KAMAILIO="$stock_server" PACKAGE_DIR="$PWD/cmake"
    loads "$stock_server" "$PWD/cmake"
    project package-module KAMAILIO_SRC="$PWD/tree" KAMAILIO="$STOCK_KAMAILIO" PACKAGE_DIR="$PWD/make"
    loads "$STOCK_KAMAILIO" "$PWD/make"
    files_below tree | diff before -
}

test_module_for_another_server_is_not_installed() {
    local command=(project install KAMAILIO_SRC="$stock/source" DESTDIR="$PWD/dest")
    stock_module
    refused "server: $by_make" "${command[@]}" KAMAILIO="$STOCK_KAMAILIO"
    refused "as configured in $stock/build: $by_cmake" "${command[@]}" KAMAILIO="$STOCK_KAMAILIO"
    [ ! -e dest ]
    "${command[@]}" KAMAILIO="$stock_server" MODULES_DIR=/module
    [ -f dest/module/tcp_conn_limit.so ]
}

# The server of the folder that the module is installed in.
test_installed_server_is_compared() {
    mkdir -p prefix/sbin
    ln -s "$STOCK_KAMAILIO" prefix/sbin/kamailio
    stock_module
    refused "would refuse this module" project install KAMAILIO_SRC="$stock/source" \
        MODULES_DIR="$PWD/prefix/lib64/kamailio/modules"
    [ ! -e prefix/lib64 ]
    ln -sf "$stock_server" prefix/sbin/kamailio
    project install KAMAILIO_SRC="$stock/source" MODULES_DIR="$PWD/prefix/lib64/kamailio/modules"
}

test_package_for_another_version_is_refused() {
    local command
    imitate "kamailio 6.1.5 (x86_64/Linux)" "USE_TCP"
    for command in module package-module package-deb; do
        refused "is kamailio 6.1.5 (x86_64/Linux), but" project "$command" KAMAILIO_SRC="$tree" \
            KAMAILIO="$PWD/server" KAMAILIO_VERSION=6.1.5-1 PACKAGE_DIR="$PWD/out"
        refused "is the source tree of Kamailio 6.0.1" project "$command" KAMAILIO_SRC="$tree" \
            KAMAILIO="$PWD/server" KAMAILIO_VERSION=6.1.5-1 PACKAGE_DIR="$PWD/out"
    done
    [ -z "$(ls out)" ]
}

test_package_with_other_flags_is_refused() {
    local text
    imitate "$by_cmake" "USE_TCP, USE_TLS"
    if project package-deb KAMAILIO_SRC="$tree" KAMAILIO="$PWD/server" \
        KAMAILIO_VERSION=6.0.1-1 PACKAGE_DIR="$PWD/out" >output 2>&1; then
        return 1
    fi
    for text in "flags: USE_TCP, USE_TLS"$'\n' ", FAST_LOCK-ADAPTIVE_WAIT, " \
        "built with CMake, with its default settings: $by_cmake" \
        "built with make, with its default settings: $by_make"; do
        says "$text" cat output
    done
    [ -z "$(ls out)" ]
}

test_settings_of_the_build_folder_are_taken_over() {
    configure "$stock/source" build -DUSE_FAST_LOCK=OFF -DKSR_PTHREAD_MUTEX_SHARED=OFF -DCMAKE_BUILD_TYPE=Debug \
        -DCMAKE_INSTALL_PREFIX="/opt/my sip" -DCMAKE_C_FLAGS="-DEXTRA_DEBUG"
    project module KAMAILIO_SRC="$PWD/build"
    project install KAMAILIO_SRC="$PWD/build" DESTDIR="$PWD/dest"
    module="dest/opt/my sip/lib/kamailio/modules/tcp_conn_limit.so"
    says "USE_PTHREAD_MUTEX" flags "$module"
    says "EXTRA_DEBUG" flags "$module"
    lacks "TLS_PTHREAD_MUTEX_SHARED" flags "$module"
    lacks "FAST_LOCK" flags "$module"
    says ".debug_info" readelf --wide --sections "$module"
    project uninstall KAMAILIO_SRC="$PWD/build" DESTDIR="$PWD/dest"
    [ -z "$(find dest -type f)" ]
}

test_lib64_of_the_build_folder_is_installed_to() {
    stock_module
    project install KAMAILIO_SRC="$stock/build" DESTDIR="$PWD"
    loads "$stock_server" "$PWD/usr/local/lib64/kamailio/modules"
}

test_server_names_its_folder() {
    stock_module
    project install KAMAILIO_SRC="$stock/build" KAMAILIO="$stock_server" DESTDIR="$PWD"
    [ -f usr/local/lib64/kamailio/modules/tcp_conn_limit.so ]
}

# A checkout has a .git, which makes CMake's default a debug build and adds the commit to
# the server's version. The tree is read-only, and its path has spaces.
test_checkout_in_a_folder_with_spaces() {
    local path="my trees/kamailio 6"
    mkdir "my trees"
    copy_tree "$path"
    git -C "$path" init --quiet
    git -C "$path" -c user.name=a -c user.email=a@localhost commit --quiet --allow-empty --message=a
    configure "$path" "$path/build"
    grep -qx 'CMAKE_BUILD_TYPE:STRING=Debug' "$path/build/CMakeCache.txt"
    chmod -R a-w "$path"
    files_below "$path" >before
    project module KAMAILIO_SRC="$PWD/$path"
    files_below "$path" | diff before -
    project install KAMAILIO_SRC="$PWD/$path" DESTDIR="$PWD/a dest" MODULES_DIR=/modules
    loads "$stock_server" "$PWD/a dest/modules"
    chmod -R u+w "$path"
}

test_ambiguous_tree_is_refused() {
    copy_tree tree
    make -C tree/src cfg
    configure tree tree/build
    refused "more than one way" project module KAMAILIO_SRC="$PWD/tree"
    refused "CMake, as configured in $PWD/tree/build" project module KAMAILIO_SRC="$PWD/tree"
    says "more than one way" project status KAMAILIO_SRC="$PWD/tree"
    says "built with CMake" project module KAMAILIO_SRC="$PWD/tree/build"
    # Which of them has built a server decides.
    touch tree/src/kamailio
    chmod +x tree/src/kamailio
    says "a server built with make" project status KAMAILIO_SRC="$PWD/tree"
}

test_packaging_selects_the_build_system() {
    copy_tree tree
    mkdir tree/debian
    printf '#!/usr/bin/make -f\n%%:\n\tdh $@ --buildsystem=cmake\n' >tree/debian/rules
    printf 'kamailio (6.0.1-7) unstable; urgency=medium\n' >tree/debian/changelog
    says "packaging:   debian/rules, with cmake" project status KAMAILIO_SRC="$PWD/tree"
    # As for a server built by make; a package uses its own build system.
    make -C tree/src cfg
    says "built with CMake, with its default settings" project package-deb KAMAILIO_SRC="$PWD/tree" PACKAGE_DIR="$PWD"
    dpkg-deb --extract kamailio-tcp-conn-limit-module_*.deb root
    loads "$stock_server" "$PWD/$(dirname "$(find root -name tcp_conn_limit.so)")"
}

test_status_of_a_tree_for_cmake_does_not_mention_make_cfg_alone() {
    says "CMake, as configured in $stock/build" project status KAMAILIO_SRC="$stock/source"
    says "6.0.0-rc0 if built with CMake" project status KAMAILIO_SRC="$stock/build"
    copy_tree tree
    says "configured:  no" project status KAMAILIO_SRC="$PWD/tree"
    says "cmake -S $PWD/tree" project status KAMAILIO_SRC="$PWD/tree"
}

test_build_of_a_changed_configuration_is_not_installed() {
    copy_tree tree
    make -C tree/src cfg
    project module KAMAILIO_SRC="$PWD/tree"
    rm tree/src/config.mak
    configure tree tree/build
    refused "run 'make KAMAILIO_SRC=$PWD/tree' again" project install KAMAILIO_SRC="$PWD/tree" DESTDIR="$PWD/dest"
    [ ! -e dest ]
}

test_other_programs_are_refused() {
    refused "not a Kamailio server" project module KAMAILIO_SRC="$tree" KAMAILIO=/bin/true
    refused "no such server" project module KAMAILIO_SRC="$tree" KAMAILIO="$PWD/missing"
    refused "needs KAMAILIO_SRC=DIR" project module KAMAILIO="$stock_server"
    refused "needs KAMAILIO_SRC=DIR" project KAMAILIO="$stock_server"
}

# One of another architecture, for example.
test_server_that_cannot_be_run_is_read() {
    cp "$stock_server" server
    # Its interpreter is missing.
    sed -i 's|/lib64/ld-linux-|/lib64/no-linux-|; s|/lib/ld-linux-|/lib/no-linux-|' server
    refused "" ./server -v
    says "built with CMake" project package-module KAMAILIO_SRC="$tree" KAMAILIO="$PWD/server" PACKAGE_DIR="$PWD/out"
    loads "$stock_server" "$PWD/out"
    refused "set MODULES_DIR" project install KAMAILIO_SRC="$tree" KAMAILIO="$PWD/server" DESTDIR="$PWD"
}

# As tests/setup/test_objects.sh checks of a module that make builds.
test_module_is_hardened() {
    stock_module
    project install KAMAILIO_SRC="$stock/build" DESTDIR="$PWD" MODULES_DIR=/modules
    readelf --wide --dynamic modules/tcp_conn_limit.so >dynamic
    grep -q '(RPATH).*[[][$]ORIGIN[]]$' dynamic
    grep -q '(FLAGS_1).* NOW' dynamic
    lacks RUNPATH cat dynamic
    nm --dynamic --undefined-only modules/tcp_conn_limit.so >undefined
    grep -q ' __stack_chk_fail' undefined
    grep -Eq ' __[a-z]+_chk(@|$)' undefined
    nm --dynamic --defined-only --format=just-symbols modules/tcp_conn_limit.so | LC_ALL=C sort |
        diff - <(printf '%s\n' exports mod_register module_flags module_interface_ver module_version)
}

# One of older code is built again.
rm -f "$(way_file "$stock/source")"
run_tests
