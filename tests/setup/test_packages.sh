#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What `make packages` builds to be published: the packages for the servers of Debian 12
# and 13, and their checksums. The package for this machine's release runs in its server;
# tests/platforms/distributions.sh installs and runs the others.

source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"
source "$(dirname "${BASH_SOURCE[0]}")/server.sh"

# lintian accepts only an address with an internet domain.
export DEBEMAIL=packager@example.org

scripts=$root/kamailio-glue/scripts
here=$(sed -n 's/^VERSION_ID="\(.*\)"/\1/p' /etc/os-release)
modules=usr/lib/$(dpkg-architecture -q DEB_HOST_MULTIARCH)/kamailio/modules

# package_of SUITE: prints the package for the server of a release.
package_of() {
    local version file
    version=$(
        eval "$("$scripts/packaged.sh" "$1")"
        sed -n '1s/^[^ ]* (\(.*\)).*/\1/p' "$PACKAGED_SRC/debian/changelog"
    )
    for file in "$packages"/*.deb; do
        if [[ $(dpkg-deb --field "$file" Depends) == *"kamailio (>= $version)"* ]]; then
            echo "$file"
        fi
    done
}

test_packages_are_ready_to_publish() {
    local suites=(trixie) suite package
    if [ "$here" -eq 12 ]; then
        suites=(bookworm trixie)
    fi
    [ "$(cd "$packages" && echo *.deb | wc --words)" -eq ${#suites[@]} ]
    (cd "$packages" && sha256sum --check --strict SHA256SUMS)
    [ "$(wc -l <"$packages/SHA256SUMS")" -eq ${#suites[@]} ]
    for suite in "${suites[@]}"; do
        package=$(package_of "$suite")
        lintian --fail-on error,warning --info "$package"
        # The server would load the module.
        dpkg-deb --extract "$package" "$suite"
        (
            eval "$("$scripts/packaged.sh" "$suite")"
            # shellcheck source=../../kamailio-glue/scripts/fit.sh
            source "$scripts/fit.sh"
            fits "$PACKAGED_KAMAILIO" "$suite/$modules/tcp_conn_limit.so"
        )
    done
}

test_package_limits_the_packaged_server() {
    local examples=module/usr/share/doc/kamailio-tcp-conn-limit-module/examples
    eval "$("$scripts/packaged.sh")"
    dpkg-deb --extract "$(package_of "$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)")" module
    # Its modules need the libraries that they share.
    export LD_LIBRARY_PATH=$PACKAGED_LIBRARIES
    start "$PACKAGED_KAMAILIO" "$PACKAGED_MODULES:$PWD/module/$modules" \
        "modparam(\"tcp_conn_limit\", \"rules_file\", \"$PWD/$examples/tcp_conn_limit.rules\")"
    says "2001:db8:40::/48" rpc tcp_conn_limit.rules
    is_limited interpose
    stop
}

packages=$root/build/test-packages
rm -rf "$packages"
mkdir -p "$packages"
# One of older code is removed.
touch "$packages/kamailio-tcp-conn-limit-module_0.0.1_amd64.deb"
project packages PACKAGE_DIR="$packages"
run_tests
