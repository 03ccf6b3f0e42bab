#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Packs the module as an RPM for a packaged Kamailio: rpm.sh TREE
# TREE is the source tree that the server's package was built from. KAMAILIO_VERSION is
# the version of that package, with or without its release (`rpm -q --qf
# '%{VERSION}-%{RELEASE}\n' kamailio`). The folder is PACKAGE_DIR, or one in build/.
#
# The RPM can be built on Debian. It needs a C library no older than the newest symbol
# that its files use; the script prints that version.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/tree.sh"
source "$(dirname "${BASH_SOURCE[0]}")/version.sh"

tree=$(tree_path "$1")
kamailio=${KAMAILIO_VERSION:-$(tree_version "$tree")}
out=${PACKAGE_DIR:-$build/$(tree_id "$tree")/package}
work=$build/$(tree_id "$tree")/rpm

"$glue/scripts/module.sh" --package "$1"
built=$(user_module "$tree")
files=("$built/tcp_conn_limit.so" "$built/$(library_name)" "$built/$checker")

# Prints the newest version of the C library whose symbols the files use.
glibc() {
    objdump --dynamic-syms "$@" | sed -n 's/.*(\{0,1\}GLIBC_\([0-9.]*\).*/\1/p' | sort -uV | tail -n 1
}

build_package() {
    rpmbuild -bb --define "_topdir $work/top" --define "_libdir /usr/lib64" \
        --define "_docdir /usr/share/doc" \
        --define "own_version $(own_version)" --define "kamailio $kamailio" \
        --define "kamailio_in_release ${kamailio//-/_}" \
        --define "glibc $needed" --define "origin $(code_origin)" --define "built $work/files" \
        "$glue/rpm/kamailio-tcp-conn-limit-module.spec"
}

needed=$(glibc "${files[@]}")
rm -rf "$work"
mkdir -p "$work/files" "$out"
install -m 644 "${files[@]}" "$glue/tcp_conn_limit/README" "$glue/tools/$top"{,.1} \
    "$glue"/monitoring/{alerts.yml,grafana.json,metrics.md} "$glue"/examples/* "$work/files/"
logged "$work.log" "building the RPM" build_package
install -m 644 "$work"/top/RPMS/*/*.rpm "$out/"
say "RPM for kamailio $kamailio, needs a C library of at least $needed: $(cd "$work/top/RPMS" && for file in */*.rpm; do echo "$out/${file##*/}"; done)"
