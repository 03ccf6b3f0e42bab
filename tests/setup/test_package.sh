#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The module for a Kamailio of packages: a folder, and a Debian package, which is
# built, linted, installed and removed.

source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

# lintian wants to see an address of the internet
export DEBEMAIL=nobody@example.org

stock=${STOCK_KAMAILIO%/src/kamailio}
package="kamailio-tcp-conn-limit-module"
modules=usr/lib/$(dpkg-architecture -q DEB_HOST_MULTIARCH)/kamailio/modules

# a package kamailio that holds nothing, of the version $1
empty_kamailio() {
    mkdir -p empty/DEBIAN
    cat >empty/DEBIAN/control <<-EOF
		Package: kamailio
		Version: $1
		Architecture: all
		Maintainer: nobody <nobody@invalid>
		Description: stands for the server
	EOF
    dpkg-deb --root-owner-group --build empty "kamailio-$1.deb"
}

# A system of its own, of whoever runs this; the libraries of C are those of the
# machine.
in_root() {
    dpkg --root="$PWD/root" --force-not-root --ignore-depends=libc6,libgcc-s1 --log=/dev/null "$@"
}

make_root() {
    mkdir -p root/var/lib/dpkg/info root/var/lib/dpkg/updates
    : >root/var/lib/dpkg/status
}

package_for() {
    project package-deb KAMAILIO_SRC="$stock" PACKAGE_DIR="$PWD" KAMAILIO_VERSION="$1"
}

test_the_folder_has_what_the_server_needs() {
    project package-module KAMAILIO_SRC="$stock" PACKAGE_DIR="$PWD/out"
    [ "$(cd out && echo *)" = "README libtcp_conn_limit.so tcp_conn_limit.so" ]
    loads "$STOCK_KAMAILIO" "$PWD/out"
}

test_the_package_is_for_one_version() {
    package_for 6.0.1-1
    says "kamailio (>= 6.0.1-1), kamailio (<< 6.0.1-1+c~)" dpkg-deb --field "$package"_*.deb Depends
    make_root
    empty_kamailio 6.0.1-1
    empty_kamailio 6.0.1-2
    in_root --install kamailio-6.0.1-2.deb
    refused "depends on kamailio (<< 6.0.1-1+c~)" in_root --install "$package"_*.deb
    in_root --purge "$package"

    in_root --install kamailio-6.0.1-1.deb "$package"_*.deb
    loads "$STOCK_KAMAILIO" "$PWD/root/$modules"
    in_root --purge "$package"
    [ ! -e "root/$modules" ]

    # the same, only built anew
    empty_kamailio 6.0.1-1+b1
    in_root --install kamailio-6.0.1-1+b1.deb "$package"_*.deb
}

test_the_package_is_as_debian_wants_it() {
    package_for 6.0.1-1
    lintian --fail-on error,warning --info "$package"_*.deb
}

test_the_version_is_that_of_the_source_package() {
    cp -a "$stock" tree
    refused "set KAMAILIO_VERSION" project package-deb KAMAILIO_SRC="$PWD/tree" PACKAGE_DIR="$PWD"
    mkdir tree/debian
    cat >tree/debian/changelog <<-EOF
		kamailio (6.0.1-7) unstable; urgency=medium

		  * Of the test.

		 -- nobody <nobody@invalid>  Thu, 01 Jan 2026 00:00:00 +0000
	EOF
    project package-deb KAMAILIO_SRC="$PWD/tree" PACKAGE_DIR="$PWD"
    says "kamailio (>= 6.0.1-7)" dpkg-deb --field "$package"_*.deb Depends
}

run_tests
