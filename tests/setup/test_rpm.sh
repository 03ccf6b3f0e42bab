#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The RPM of the module: what it needs and contains, and that its files load.

source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

stock=${STOCK_KAMAILIO%/src/kamailio}
package="kamailio-tcp-conn-limit-module"

rpm_for() {
    project package-rpm KAMAILIO_SRC="$stock" PACKAGE_DIR="$PWD" KAMAILIO_VERSION="$1"
}

test_rpm_needs_one_version() {
    rpm_for 6.0.1-3.el9
    rpm --query --package --requires "$package"-*.rpm >needs
    grep -qx 'kamailio = 6.0.1-3.el9' needs
    # The library that lies next to the module is not a dependency.
    if grep libtcp_conn_limit needs; then
        return 1
    fi
}

test_rpm_states_the_c_library() {
    says "needs a C library of at least 2." rpm_for 6.0.1
    rpm --query --package --requires "$package"-*.rpm | sed -n 's/^libc\.so\.6(GLIBC_\([0-9.]*\)).*/\1/p' |
        sort -V | tail -n 1 >needed
    says "C library of at least $(<needed)." rpm --query --package --qf '%{DESCRIPTION}' "$package"-*.rpm
}

test_files_of_the_rpm_load() {
    local file
    rpm_for 6.0.1
    rpm2archive - <"$(echo "$package"-*.rpm)" | tar -xzf -
    [ "$(cd usr/lib64/kamailio/modules && echo *)" = "$library tcp_conn_limit-check-rules tcp_conn_limit.so" ]
    says "usage:" usr/bin/tcp_conn_limit-top --help
    [ -s usr/share/man/man1/tcp_conn_limit-top.1 ] || [ -s usr/share/man/man1/tcp_conn_limit-top.1.gz ]
    loads "$STOCK_KAMAILIO" "$PWD/usr/lib64/kamailio/modules"
    [ -s "usr/share/doc/$package/README" ]
    for file in alerts.yml grafana.json tcp_conn_limit.rules; do
        [ -s "usr/share/doc/$package/examples/$file" ]
    done
}

run_tests
