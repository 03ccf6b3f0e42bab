# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds a module for a Kamailio source tree without changing the tree. Sourced.
#
# The module must be built with the version and flags of the tree, so the tree's
# own build system is used. It writes next to the sources; therefore it runs in
# another tree, which consists of links to the tree and to the module. Of the tree's
# modules it has only the headers that our module includes, and those that they include.

# link_headers TREE OUT: links the headers in the tree OUT.
link_headers() {
    local module
    for module in jsonrpcs dmq tm; do
        mkdir -p "$2/src/modules/$module"
        ln -sf "$1/src/modules/$module"/*.h "$2/src/modules/$module/"
    done
}

# mirror TREE OUT SOURCES: makes OUT/src such a tree for the module with its sources
# in the folder SOURCES. Sets mirrored: the folder in which to run make.
mirror() {
    local tree=$1 out=$2 sources=$3 entry
    mirrored=$out/src/modules/${sources##*/}
    mkdir -p "$mirrored"
    find "$out/src" "$out/src/modules" "$mirrored" -maxdepth 1 -type l -delete
    for entry in "$tree"/src/*; do
        case ${entry##*/} in
            # The build system may rewrite config.mak.
            config.mak) cp -p "$entry" "$out/src/" ;;
            # Lists that it writes when it configures a tree.
            modules | *.lst) ;;
            *) ln -s "$entry" "$out/src/" ;;
        esac
    done
    link_headers "$tree" "$out"
    ln -s "$sources"/* "$mirrored/"
}

# cmake_mirror TREE OUT SOURCES: makes the folder OUT such a tree for CMake, which also
# writes into src/core. OUT must not exist.
cmake_mirror() {
    local tree=$1 out=$2 sources=$3 entry module
    module=$out/src/modules/${sources##*/}
    mkdir -p "$module"
    for entry in "$tree"/*; do
        # A build folder in the tree would be taken for ours.
        case ${entry##*/} in
            src | CMakeCache.txt | CMakeFiles) ;;
            *) ln -s "$entry" "$out/" ;;
        esac
    done
    for entry in "$tree"/src/*; do
        case ${entry##*/} in
            modules | CMakeFiles) ;;
            # Folders of its own, with a link to each file.
            core) cp -rs "$entry" "$out/src/" ;;
            *) ln -s "$entry" "$out/src/" ;;
        esac
    done
    # What CMake and make generate.
    rm -f "$out"/src/core/autover.h "$out"/src/core/lex.yy.c "$out"/src/core/cfg.tab.[ch]
    ln -s "$tree/src/modules/CMakeLists.txt" "$out/src/modules/"
    link_headers "$tree" "$out"
    ln -s "$sources"/* "$module/"
}

# cmake_settings BUILD: prints, as CMake's commands, the settings with which CMake has
# configured the folder BUILD, except those that concern what is built there and how it
# is started.
cmake_settings() {
    awk '
        !match($0, /^"?[^":=#\/][^":=]*"?:(BOOL|STRING|PATH|FILEPATH|UNINITIALIZED)=/) { next }
        {
            key = substr($0, 1, RLENGTH - 1)
            value = substr($0, RLENGTH + 1)
            type = key
            sub(/^.*:/, "", type)
            sub(/:[A-Z]*$/, "", key)
            gsub(/"/, "", key)
            if (key ~ /^(TCL_.*|MODULE_GROUP_NAME|INCLUDE_MODULES|EXCLUDE_MODULES|USE_GIT|BUILD_DOC|CMAKE_MAKE_PROGRAM|CMAKE_SKIP_.*|CMAKE_C_FLAGS)$/)
                next
            if (type == "UNINITIALIZED")
                type = "STRING"
            # CMake quotes a value that begins or ends with a space.
            if (value ~ /^\047.*\047$/)
                value = substr(value, 2, length(value) - 2)
            printf "set([==[%s]==] [==[%s]==] CACHE %s \"\")\n", key, value, type
        }
    ' "$1/CMakeCache.txt"
}
