# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Building a module for a Kamailio source tree without touching it. Sourced.
#
# The tree's own build system does it, for the tree's version and flags must be
# the module's. But it writes beside the sources; so it is shown another tree,
# which consists of links to the tree and to the module, and the tree stays as
# it is.

# mirror TREE OUT SOURCES: makes OUT/src such a tree for the module whose sources
# are in the folder SOURCES. Sets mirrored: the folder in which to run make.
mirror() {
    local tree=$1 out=$2 sources=$3 entry
    mirrored=$out/src/modules/${sources##*/}
    mkdir -p "$mirrored"
    find "$out/src" "$out/src/modules" "$mirrored" -maxdepth 1 -type l -delete
    for entry in "$tree"/src/*; do
        case ${entry##*/} in
            # the build system may write config.mak anew
            config.mak) cp -p "$entry" "$out/src/" ;;
            modules) ;;
            *) ln -s "$entry" "$out/src/" ;;
        esac
    done
    ln -s "$sources"/* "$mirrored/"
}
