#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The module for a packaged Kamailio: the folder, and the Debian package, which is
# built, linted, installed and removed.

source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

# lintian accepts only an address with an internet domain.
export DEBEMAIL=nobody@example.org

scripts=$root/kamailio-glue/scripts
stock=${STOCK_KAMAILIO%/src/kamailio}
package="kamailio-tcp-conn-limit-module"
modules=usr/lib/$(dpkg-architecture -q DEB_HOST_MULTIARCH)/kamailio/modules

# empty_kamailio VERSION: builds an empty package kamailio of that version.
empty_kamailio() {
    mkdir -p empty/DEBIAN
    cat >empty/DEBIAN/control <<-EOF
		Package: kamailio
		Version: $1
		Architecture: all
		Maintainer: nobody <nobody@invalid>
		Description: stand-in for the server
	EOF
    dpkg-deb --root-owner-group --build empty "kamailio-$1.deb"
}

# Runs dpkg on a separate system in root/, as the user that runs the test. The C
# libraries are those of the machine.
in_root() {
    dpkg --root="$PWD/root" --force-not-root --ignore-depends=libc6,libgcc-s1 --log=/dev/null "$@"
}

make_root() {
    mkdir -p root/var/lib/dpkg/info root/var/lib/dpkg/updates
    : >root/var/lib/dpkg/status
}

# package_for VERSION: builds the package for this version of the server in this folder.
package_for() {
    project package-deb KAMAILIO_SRC="$stock" PACKAGE_DIR="$PWD" KAMAILIO_VERSION="$1"
}

test_folder_has_what_the_server_needs() {
    says "sudo install -m 755 $PWD/out/{tcp_conn_limit.so,$library,tcp_conn_limit-check-rules,tcp_conn_limit-top} MODULE_FOLDER/" \
        project package-module KAMAILIO_SRC="$stock" PACKAGE_DIR="$PWD/out"
    [ "$(cd out && echo *)" = "README $library tcp_conn_limit-check-rules tcp_conn_limit-top tcp_conn_limit.so" ]
    says "usage:" out/tcp_conn_limit-top --help
    loads "$STOCK_KAMAILIO" "$PWD/out"
}

test_package_depends_on_one_version() {
    says "kamailio (>= 6.0.1-1), kamailio (<< 6.0.1-1+c~)" dpkg-deb --field "$built" Depends
    make_root
    empty_kamailio 6.0.1-1
    empty_kamailio 6.0.1-2
    in_root --install kamailio-6.0.1-2.deb
    refused "depends on kamailio (<< 6.0.1-1+c~)" in_root --install "$built"
    in_root --purge "$package"

    in_root --install kamailio-6.0.1-1.deb "$built"
    loads "$STOCK_KAMAILIO" "$PWD/root/$modules"
    says "usage:" root/usr/bin/tcp_conn_limit-top --help
    in_root --purge "$package"
    [ ! -e "root/$modules" ]

    # A binary-only rebuild of the same version.
    empty_kamailio 6.0.1-1+b1
    in_root --install kamailio-6.0.1-1+b1.deb "$built"
}

test_package_passes_lintian() {
    lintian --fail-on error,warning --info "$built"
}

test_version_comes_from_the_source_package() {
    cp -a "$stock" tree
    refused "set KAMAILIO_VERSION" project package-deb KAMAILIO_SRC="$PWD/tree" PACKAGE_DIR="$PWD"
    mkdir tree/debian
    cat >tree/debian/changelog <<-EOF
		kamailio (6.0.1-7) unstable; urgency=medium

		  * For the test.

		 -- nobody <nobody@invalid>  Thu, 01 Jan 2026 00:00:00 +0000
	EOF
    project package-deb KAMAILIO_SRC="$PWD/tree" PACKAGE_DIR="$PWD"
    says "kamailio (>= 6.0.1-7)" dpkg-deb --field "$package"_*.deb Depends
}

test_package_has_examples_for_the_operator() {
    local examples=root/usr/share/doc/$package/examples
    dpkg-deb --extract "$built" root
    cmp "$examples/alerts.yml" "$root/kamailio-glue/monitoring/alerts.yml"
    cmp "$examples/grafana.json" "$root/kamailio-glue/monitoring/grafana.json"
    zcmp "root/usr/share/doc/$package/README.gz" "$root/kamailio-glue/tcp_conn_limit/README"
    says "ok, rules: 3" "root/$modules/tcp_conn_limit-check-rules" "$examples/tcp_conn_limit.rules"
}

# The same code gives the same package.
test_package_can_be_reproduced() {
    package_for 6.0.1-1
    cmp "$built" "$package"_*.deb
}

# own_version_of PROJECT: prints the version of a package that is built in this folder.
own_version_of() {
    local root=$1
    # shellcheck source=../../kamailio-glue/scripts/version.sh
    source "$scripts/version.sh"
    own_version
}

# commit_at TIME: commits all files of the folder project/ at this time.
commit_at() {
    git -C project add .
    GIT_AUTHOR_DATE="$1 +0000" GIT_COMMITTER_DATE="$1 +0000" git -C project \
        -c user.name=a -c user.email=a@localhost commit --quiet --message=a
}

test_version_grows_with_the_code() {
    local previous=0 version
    mkdir -p project/src
    printf '[package]\nname = "a"\nversion = "0.1.0"\n' >project/Cargo.toml
    [ "$(own_version_of "$PWD/project")" = 0.1.0 ]

    git init --quiet project
    {
        commit_at 2026-11-01T12:00:00
        own_version_of "$PWD/project"
        TZ=UTC touch --date="2026-11-02 12:00:00" project/src/new
        # As in the README: packages and Kamailio's sources are not our code.
        touch project/a.deb
        own_version_of "$PWD/project"
        commit_at 2026-11-03T12:00:00
        own_version_of "$PWD/project"
        git -C project tag v0.1.0
        own_version_of "$PWD/project"
        TZ=UTC touch --date="2026-11-04 12:00:00" project/src/newer
        own_version_of "$PWD/project"
        commit_at 2026-11-05T12:00:00
        own_version_of "$PWD/project"
    } >versions
    diff versions - <<-EOF
		0.1.0~20261101120000
		0.1.0~20261102120000
		0.1.0~20261103120000
		0.1.0
		0.1.0+20261104120000
		0.1.0+20261105120000
	EOF
    while read -r version; do
        dpkg --compare-versions "$previous+6.0.1-1" lt "$version+6.0.1-1"
        previous=$version
    done <versions
}

test_package_has_the_version_of_the_code() {
    [ "$(dpkg-deb --field "$built" Version)" = "$(own_version_of "$root")+6.0.1-1" ]
    dpkg-deb --extract "$built" root
    gzip --decompress --stdout "root/usr/share/doc/$package/changelog.Debian.gz" |
        grep -q "Built from "
}

# Packages for older versions of the server may be in the folder.
test_printed_command_names_one_package() {
    local file
    package_for 6.0.1-1
    package_for 6.0.1-2 >output 2>&1
    file=$(sed -n 's/.*: sudo apt-get install kamailio //p' output)
    [ "$(find . -name '*.deb' | wc -l)" -eq 2 ]
    says "kamailio (>= 6.0.1-2)" dpkg-deb --field "$file" Depends
}

# The package that most tests need.
rm -rf "$root/build/test-package"
mkdir -p "$root/build/test-package"
(cd "$root/build/test-package" && package_for 6.0.1-1)
built=$(echo "$root/build/test-package/$package"_*.deb)
run_tests
