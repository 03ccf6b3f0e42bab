#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Installs or removes the module, its library and its programs:
# install.sh install|uninstall TREE
# The folder, below DESTDIR, is MODULES_DIR, or that of the server KAMAILIO, or the one
# in the tree's configuration. A module is not installed for a server that would refuse
# it.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/apt.sh"
source "$(dirname "${BASH_SOURCE[0]}")/tree.sh"
source "$(dirname "${BASH_SOURCE[0]}")/buildsystem.sh"
source "$(dirname "${BASH_SOURCE[0]}")/fit.sh"

command=$1
given=$2
tree=$(tree_path "$given")
server=${KAMAILIO-}
# The library comes first: a server that starts meanwhile must not find a module that
# is newer than it.
files=("$(library_name)" tcp_conn_limit.so "$checker")
built=$(user_module "$tree")

# Fails unless the module is built, in the way that the tree's configuration asks for.
check_built() {
    local file way
    for file in "${files[@]}"; do
        if [ ! -f "$built/$file" ] || [ ! -f "$built/way" ]; then
            fail "$built/$file is not built yet: run 'make KAMAILIO_SRC=$given' first"
        fi
    done
    if [ -z "$server" ]; then
        way=$(only_way "$tree" "$given" own)
        if [ "$way" != "$(<"$built/way")" ]; then
            fail "the module was built with $(describe_way "$(<"$built/way")"), but $tree is for $(describe_way "$way"): run 'make KAMAILIO_SRC=$given' again, or set KAMAILIO to the server that it was built for"
        fi
    fi
}

# Prints the server that looks for its modules in the folder $dir, if it is installed:
# PREFIX/sbin/kamailio for PREFIX/lib*/.../kamailio/modules.
server_of_folder() {
    local prefix=${dir%/kamailio/modules}
    if [ -n "${DESTDIR-}" ] || [ "$prefix" = "$dir" ]; then
        return
    fi
    prefix=${prefix%/lib*}
    if [ -x "$prefix/sbin/kamailio" ]; then
        printf '%s\n' "$prefix/sbin/kamailio"
    fi
}

# Fails if the server would refuse the module.
check_fit() {
    if [ -z "$server" ]; then
        server=$(server_of_folder)
    fi
    if [ -z "$server" ]; then
        return
    fi
    if ! fits "$server" "$built/tcp_conn_limit.so"; then
        say "error: the server $server would refuse this module:"
        say_strings server "$(server_strings "$server")"
        say_strings "module, built with $(describe_way "$(<"$built/way")")" "$(file_strings "$built/tcp_conn_limit.so")"
        fail "nothing was installed: run 'make KAMAILIO_SRC=$given KAMAILIO=$server' first, or set KAMAILIO to the server that the module is for, or install that server before the module"
    fi
}

if [ "$command" = install ]; then
    check_built
fi
if [ -n "${MODULES_DIR-}" ]; then
    dir=$MODULES_DIR
elif [ -n "$server" ]; then
    dir=$(default_modules_dir "$server")
else
    way=$(only_way "$tree" "$given" own)
    dir=$(modules_dir "$tree" "$way")
fi
dir=${DESTDIR-}$dir

case $command in
    install)
        check_fit
        mkdir -p "$dir"
        put "$dir" "${files[@]/#/$built/}" "$glue/tools/$top"
        for file in "${files[@]}" "$top"; do
            say "installed $dir/$file"
        done
        ;;
    uninstall)
        for file in "${files[@]}" "$top"; do
            if [ -f "$dir/$file" ]; then
                rm "$dir/$file"
                say "removed $dir/$file"
            else
                say "not installed: $dir/$file"
            fi
        done
        ;;
esac
