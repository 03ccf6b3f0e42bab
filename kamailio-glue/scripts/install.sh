#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Installs or removes the module and its library: install.sh install|uninstall TREE
# The folder is MODULES_DIR, or the one in the tree's configuration, below DESTDIR.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/tree.sh"

command=$1
tree=$(tree_path "$2")
# The library comes first: a server that starts meanwhile must not find a module that
# is newer than it.
files=("$(library_name)" tcp_conn_limit.so)

configured_dir() {
    [ -f "$tree/src/config.mak" ] || fail "$tree is not configured: set MODULES_DIR, or run 'make cfg' in it"
    make --silent --directory="$tree/src" --file=- print <<-'EOF'
		include config.mak
		print: ; @echo '$(modules_prefix)/$(modules_dir)modules'
	EOF
}

dir=${DESTDIR-}${MODULES_DIR:-$(configured_dir)}

case $command in
    install)
        built=$(user_module "$tree")
        for file in "${files[@]}"; do
            [ -f "$built/$file" ] || fail "$built/$file is not built yet: run 'make KAMAILIO_SRC=$tree' first"
        done
        mkdir -p "$dir"
        put "$dir" "${files[@]/#/$built/}"
        for file in "${files[@]}"; do
            say "installed $dir/$file"
        done
        ;;
    uninstall)
        for file in "${files[@]}"; do
            if [ -f "$dir/$file" ]; then
                rm "$dir/$file"
                say "removed $dir/$file"
            else
                say "not installed: $dir/$file"
            fi
        done
        ;;
esac
