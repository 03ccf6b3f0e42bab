#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Packs the module for a packaged Kamailio: package.sh module|deb TREE
#   module  a folder with the files to install next to the server's modules
#   deb     a Debian package of them, for exactly one version of Debian's Kamailio
# TREE is the source tree that Debian's package was built from. The folder is
# PACKAGE_DIR, or one in build/. The version of the kamailio package is
# KAMAILIO_VERSION, or the one in the tree's debian/changelog. A binary-only rebuild
# (+b1) counts as the same version; an update (+deb12u1) does not.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/tree.sh"

command=$1
tree=$(tree_path "$2")
work=$build/$(tree_id "$tree")
out=${PACKAGE_DIR:-$work/package}
name="kamailio-tcp-conn-limit-module"

"$glue/scripts/module.sh" "$tree"
built=$(user_module "$tree")
library=$(library_name)
files=("$built/tcp_conn_limit.so" "$built/$library" "$glue/tcp_conn_limit/README")

package_version() {
    if [ -n "${KAMAILIO_VERSION-}" ]; then
        printf '%s\n' "$KAMAILIO_VERSION"
    elif [ -f "$tree/debian/changelog" ]; then
        dpkg-parsechangelog --file "$tree/debian/changelog" --show-field Version
    else
        fail "no debian/changelog in $tree: set KAMAILIO_VERSION to the version of the kamailio package (dpkg-query --show kamailio)"
    fi
}

# The maintainer is the user that builds the package, as set for Debian's tools.
maintainer="${DEBFULLNAME:-tcp_conn_limit authors} <${DEBEMAIL:-nobody@$(hostname)}>"

# The version of the library.
own_version() {
    sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1
}

fill_in() {
    local text
    text=$(<"$1")
    text=${text//@KAMAILIO_VERSION@/"$kamailio"}
    printf '%s\n' "${text//@MAINTAINER@/"$maintainer"}"
}

write_changelog() {
    cat <<-END
		kamailio-tcp-conn-limit (${version}) unstable; urgency=medium

		  * Built for the package kamailio ${kamailio}.

		 -- $maintainer  $(date --rfc-email)
	END
}

build_package() {
    cd "$source"
    dpkg-buildpackage --build=binary --no-sign --no-check-builddeps
}

mkdir -p "$out"
case $command in
    module)
        install -m 644 "${files[@]}" "$out/"
        say "put tcp_conn_limit.so and $library into the server's module folder; cp over the files of a running server would end it, install does not:"
        say "    sudo install -m 644 $out/{tcp_conn_limit.so,$library} MODULE_FOLDER/"
        ;;
    deb)
        kamailio=$(package_version)
        # Without the epoch of the server's version.
        version=$(own_version)+${kamailio#*:}
        source=$work/deb/source
        rm -rf "$work/deb"
        mkdir -p "$source/debian"
        cp "${files[@]}" "$source/"
        cp "$glue"/debian/* "$source/debian/"
        fill_in "$glue/debian/control" >"$source/debian/control"
        write_changelog >"$source/debian/changelog"
        logged "$work/deb.log" "building the package" build_package
        cp "$work/deb/${name}_${version}"_*.deb "$out/"
        say "package for kamailio $kamailio: $(echo "$out/${name}_${version}"_*.deb)"
        ;;
    *)
        fail "usage: package.sh module|deb TREE"
        ;;
esac
