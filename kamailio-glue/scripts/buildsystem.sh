# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# With which build system, and which settings of it, to build a module for a source
# tree. Sourced, after tree.sh and apt.sh.
#
# make and CMake build servers that refuse each other's modules. A way to build a module
# is one of these:
#   make configured   with the settings in the tree's src/config.mak
#   make default      with those that `make cfg` would write
#   cmake DIR         with the settings in DIR/CMakeCache.txt
#   cmake default     with those of CMake's files in the tree

describe_way() {
    case $1 in
        "make configured") echo "make, as configured in src/config.mak" ;;
        "make default") echo "make, with its default settings" ;;
        "cmake default") echo "CMake, with its default settings" ;;
        *) echo "CMake, as configured in ${1#cmake }" ;;
    esac
}

# cmake_builds TREE GIVEN: prints the folders in which CMake has configured the tree:
# only GIVEN if it is one, otherwise those in the tree and next to it.
cmake_builds() {
    local tree=$1 given=$2 folder
    if [ -f "$given/CMakeCache.txt" ]; then
        (cd "$given" && pwd -P)
        return
    fi
    for folder in "$tree"/*/ "${tree%/*}"/*/; do
        if [ -f "$folder/CMakeCache.txt" ] && [ "$(cache_value "$folder" CMAKE_HOME_DIRECTORY)" -ef "$tree" ]; then
            (cd "$folder" && pwd -P)
        fi
    done | sort -u
}

# configured_ways TREE GIVEN: prints the ways for which the tree is configured.
configured_ways() {
    if [ -f "$1/src/config.mak" ] && [ ! -f "$2/CMakeCache.txt" ]; then
        echo "make configured"
    fi
    if has_cmake "$1"; then
        cmake_builds "$1" "$2" | sed 's/^/cmake /'
    fi
}

# default_ways TREE: prints the ways that need no configured tree.
default_ways() {
    echo "make default"
    if has_cmake "$1"; then
        echo "cmake default"
    fi
}

# packaging TREE: prints the file in the tree that this system's packages are built
# with, or nothing. Packages of a tree without debian/ are those of the project.
packaging() {
    local file
    if [ -f "$1/debian/rules" ]; then
        echo debian/rules
        return
    fi
    case " $(os_release ID) $(os_release ID_LIKE) " in
        *" debian "*) file=pkg/kamailio/deb/$(os_release VERSION_CODENAME)/rules ;;
        *" rhel "* | *" fedora "* | *" suse "*) file=pkg/kamailio/obs/kamailio.spec ;;
        *" alpine "*) file=pkg/kamailio/alpine/APKBUILD ;;
        *) return ;;
    esac
    if [ -f "$1/$file" ]; then
        echo "$file"
    fi
}

# packaging_system TREE FILE: prints the build system that the packaging in FILE uses.
packaging_system() {
    if grep -q '^[^#]*cmake' "$1/$2"; then
        echo cmake
    else
        echo make
    fi
}

# way_server TREE WAY: prints the server that was built in this way, if there is one.
way_server() {
    local server
    case $2 in
        *" default") return ;;
        make*) server=$1/src/kamailio ;;
        *) server=${2#cmake }/src/$(cache_value "${2#cmake }" MAIN_NAME) ;;
    esac
    if [ -x "$server" ] && [ ! -d "$server" ]; then
        printf '%s\n' "$server"
    fi
}

# only_way TREE GIVEN PURPOSE: prints the way to build a module for the tree's server.
# PURPOSE is `package` for a packaged server: then its packaging decides which build
# system it is, and otherwise the tree's configuration. Fails if that is ambiguous.
only_way() {
    local tree=$1 given=$2 purpose=$3 file='' system='' way ways=() with_server=()
    mapfile -t ways < <(configured_ways "$tree" "$given")
    if [ "$purpose" = package ] || [ -f "$tree/debian/rules" ]; then
        file=$(packaging "$tree")
    fi
    if [ -n "$file" ]; then
        system=$(packaging_system "$tree" "$file")
    fi
    if [ "$purpose" = package ] && [ -n "$system" ]; then
        mapfile -t ways < <(printf '%s\n' "${ways[@]}" | grep "^$system ")
    fi
    if [ ${#ways[@]} -eq 0 ] && [ -n "$system" ]; then
        ways=("$system default")
    fi
    if [ ${#ways[@]} -gt 1 ]; then
        for way in "${ways[@]}"; do
            if [ -n "$(way_server "$tree" "$way")" ]; then
                with_server+=("$way")
            fi
        done
        if [ ${#with_server[@]} -eq 1 ]; then
            ways=("${with_server[@]}")
        fi
    fi
    case ${#ways[@]} in
        1) printf '%s\n' "${ways[0]}" ;;
        0) fail "$tree is not configured: $(how_to_configure "$tree")" ;;
        *) fail "$tree is configured in more than one way: $(describe_ways "${ways[@]}"); set KAMAILIO to the server that the module is for, such as KAMAILIO=/usr/sbin/kamailio$(
            if has_cmake "$tree"; then
                echo ", or KAMAILIO_SRC to CMake's build folder"
            fi
        )" ;;
    esac
}

describe_ways() {
    local way separator=
    for way in "$@"; do
        printf '%s%s' "$separator" "$(describe_way "$way")"
        separator="; "
    done
}

# Says how a tree becomes configured.
how_to_configure() {
    local server="set KAMAILIO to the server that the module is for, such as KAMAILIO=/usr/sbin/kamailio"
    if has_cmake "$1"; then
        echo "$server, or configure the tree as its server is built, with 'make -C $1/src cfg' or with 'cmake -S $1 -B FOLDER', and for another FOLDER than one in the tree or next to it set KAMAILIO_SRC=FOLDER"
    else
        echo "run 'make -C $1/src cfg', with the options that its server is built with, or $server"
    fi
}

# possible_ways TREE GIVEN VERSION: prints the ways to build a module for the server that
# calls itself VERSION, the likely ones first. Until 6.1, CMake writes Linux where make
# writes linux.
possible_ways() {
    local first=make
    case $3 in
        *"/Linux)") first=cmake ;;
    esac
    {
        configured_ways "$1" "$2"
        default_ways "$1"
    } | awk -v first="$first" '
        $1 == first { print; next }
        { rest = rest $0 "\n" }
        END { printf "%s", rest }
    '
}

# modules_dir TREE WAY: prints the folder in which a server that is built in this way
# looks for its modules.
modules_dir() {
    local cache=${2#cmake } folder
    case $2 in
        "make configured")
            make --silent --directory="$1/src" --file=- print <<-'END'
				include config.mak
				print: ; @echo '$(modules_prefix)/$(modules_dir)modules'
			END
            ;;
        *" default")
            fail "$1 is not configured, so it does not name the folder of the server's modules: set MODULES_DIR, or KAMAILIO to the server"
            ;;
        *)
            folder=$(cache_value "$cache" CMAKE_INSTALL_LIBDIR)
            case $folder in
                /*) ;;
                *) folder=$(cache_value "$cache" CMAKE_INSTALL_PREFIX)/$folder ;;
            esac
            printf '%s\n' "$folder/$(cache_value "$cache" MAIN_NAME)/modules"
            ;;
    esac
}
