#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Packs the module for a packaged Kamailio: package.sh module|deb TREE
#   module  a folder with the files to install next to the server's modules
#   deb     a Debian package of them, for exactly one version of Debian's Kamailio
# TREE is the source tree that the package was built from. The folder is PACKAGE_DIR, or
# one in build/. The module must fit the server KAMAILIO; if that is not set, it is the
# one that is installed here, if it is of the same version.
#
# The version of the kamailio package is KAMAILIO_VERSION, or the one in the tree's
# debian/changelog, or that of the package that KAMAILIO belongs to. A binary-only
# rebuild (+b1) counts as the same version; an update (+deb12u1) does not.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/tree.sh"
source "$(dirname "${BASH_SOURCE[0]}")/version.sh"

command=$1
tree=$(tree_path "$2")
work=$build/$(tree_id "$tree")
out=${PACKAGE_DIR:-$work/package}
mkdir -p "$out"
out=$(cd "$out" && pwd)
name="kamailio-tcp-conn-limit-module"

# Prints the version of an installed package kamailio, or nothing.
installed_version() {
    if command -v dpkg-query >/dev/null; then
        { dpkg-query --show --showformat='${db:Status-Status} ${Version}\n' kamailio 2>/dev/null || true; } |
            sed -n 's/^installed //p'
    fi
}

# Succeeds if KAMAILIO is the server of the installed package.
is_installed_server() {
    [ -n "${KAMAILIO-}" ] && dpkg-query --search "$KAMAILIO" 2>/dev/null | grep -q '^kamailio[:,]'
}

# Prints the version of the package that the module is for, or nothing.
package_version() {
    if [ -n "${KAMAILIO_VERSION-}" ]; then
        printf '%s\n' "$KAMAILIO_VERSION"
    elif [ -f "$tree/debian/changelog" ]; then
        sed -n '1s/^[^ ]* (\(.*\)).*/\1/p' "$tree/debian/changelog"
    elif is_installed_server; then
        installed_version
    fi
}

kamailio=$(package_version)
if [ -z "$kamailio" ] && [ "$command" = deb ]; then
    fail "no debian/changelog in $tree: set KAMAILIO_VERSION to the version of the kamailio package (dpkg-query --show kamailio)"
fi
# A binary-only rebuild is of the same version.
if [ -z "${KAMAILIO-}" ] && [ -n "$kamailio" ]; then
    installed=$(installed_version)
    if [ "${installed%+b[0-9]*}" = "${kamailio%+b[0-9]*}" ]; then
        export KAMAILIO=/usr/sbin/kamailio
    fi
fi

"$glue/scripts/module.sh" --package "$2"
built=$(user_module "$tree")
library=$(library_name)
files=("$built/tcp_conn_limit.so" "$built/$library" "$built/$checker" "$glue/tcp_conn_limit/README")
if [ -z "${KAMAILIO-}" ]; then
    say "not compared with a server: KAMAILIO=FILE, such as /usr/sbin/kamailio, does that"
fi

# The maintainer is the user that builds the package, as set for Debian's tools.
maintainer="${DEBFULLNAME:-tcp_conn_limit authors} <${DEBEMAIL:-nobody@$(hostname)}>"

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
		  * Built from $(code_origin).

		 -- $maintainer  $(date --utc --rfc-email --date="@$(code_time)")
	END
}

build_package() {
    cd "$source"
    dpkg-buildpackage --build=binary --no-sign --no-check-builddeps
}

case $command in
    module)
        install -m 644 "${files[@]}" "$out/"
        install -m 755 "$glue/tools/$top" "$out/"
        chmod 755 "$out/$checker"
        say "put tcp_conn_limit.so, $library, $checker and $top into the server's module folder; cp over the files of a running server would end it, install does not:"
        say "    sudo install -m 755 $out/{tcp_conn_limit.so,$library,$checker,$top} MODULE_FOLDER/"
        ;;
    deb)
        # Without the epoch of the server's version.
        version=$(own_version)+${kamailio#*:}
        source=$work/deb/source
        rm -rf "$work/deb"
        mkdir -p "$source/debian"
        cp "${files[@]}" "$glue/tools/$top"{,.1} "$source/"
        cp "$glue"/monitoring/{alerts.yml,grafana.json,metrics.md} "$glue"/examples/* "$source/"
        cp "$glue"/debian/* "$source/debian/"
        fill_in "$glue/debian/control" >"$source/debian/control"
        write_changelog >"$source/debian/changelog"
        logged "$work/deb.log" "building the package" build_package
        package=$(echo "$work/deb/${name}_${version}"_*.deb)
        cp "$package" "$out/"
        package=$out/${package##*/}
        say "package for kamailio $kamailio: $package"
        # Other packages may be in the folder, so the command names one file. It does not
        # name the server's version, because a binary-only rebuild has another one.
        printf 'to install it, or to upgrade it with its server: sudo apt-get install kamailio %q\n' "$package" >&2
        ;;
    *)
        fail "usage: package.sh module|deb TREE"
        ;;
esac
