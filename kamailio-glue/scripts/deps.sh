#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Debian packages that the set-up needs: deps.sh SET...
# As root it installs the missing ones; otherwise it prints the command to run.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# netbase: the servers look up the number of TCP in /etc/protocols.
declare -A packages=(
    [build]="bison ca-certificates flex gcc libc6-dev libssl-dev make netbase patch pkgconf"
    [test]="iproute2 lintian openssl sip-tester valgrind"
    [check]="clang-format codespell libclang-dev shellcheck"
    [fuzz]="clang g++"
    [docs]="docbook-xml docbook-xsl libxml2-utils lynx make xsltproc"
    [package]="debhelper dpkg-dev"
    [chroot]="debootstrap util-linux"
    [peers]="haproxy iproute2 libnginx-mod-stream nftables nginx-light"
    [profile]="linux-perf"
    [arm64]="binutils dpkg-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static"
    [recipes]="fail2ban haproxy iproute2 logrotate nftables perl python3-systemd rsyslog systemd systemd-journal-remote util-linux"
    [rpm]="binutils rpm"
)

if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
    fail "cargo or rustc is not in PATH: install a Rust toolchain (https://rustup.rs), or add ~/.cargo/bin to PATH"
fi

wanted=()
for set in "$@"; do
    read -ra names <<<"${packages[$set]}"
    wanted+=("${names[@]}")
done

if ! command -v dpkg-query >/dev/null; then
    say "not a Debian machine, so nothing is installed; install what these Debian packages contain: ${wanted[*]}"
    exit
fi

declare -A installed=()
while read -r name status; do
    if [ "$status" = installed ]; then
        installed[$name]=yes
    fi
done < <(dpkg-query --show --showformat='${Package} ${db:Status-Status}\n' "${wanted[@]}" 2>/dev/null)

missing=()
for name in "${wanted[@]}"; do
    if [ -z "${installed[$name]-}" ]; then
        missing+=("$name")
    fi
done
if [ ${#missing[@]} -eq 0 ]; then
    exit
fi

install=(apt-get install --yes --no-install-recommends "${missing[@]}")
if [ "$(id -u)" -ne 0 ]; then
    say "missing packages: ${missing[*]}; install them and run this again:"
    say "    sudo ${install[*]}"
    exit 1
fi

# The package lists may be absent (container images) or too old.
install_packages() {
    "${install[@]}" || { apt-get update && "${install[@]}"; }
}

# Debian would start the services that it installs. An existing policy for that
# is kept.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

say "installing packages: ${missing[*]} ..."
export DEBIAN_FRONTEND=noninteractive
logged "$build/packages.log" "installing packages" install_packages
