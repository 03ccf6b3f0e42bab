# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds a module for a Kamailio source tree without changing the tree. Sourced.
#
# The module must be built with the version and flags of the tree, so the tree's
# own build system is used. It writes next to the sources; therefore it runs in
# another tree, which consists of links to the tree and to the module.

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
            modules) ;;
            *) ln -s "$entry" "$out/src/" ;;
        esac
    done
    ln -s "$sources"/* "$mirrored/"
}
