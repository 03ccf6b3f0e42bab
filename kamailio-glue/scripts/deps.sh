#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Debian packages that the set-up needs: deps.sh SET...
# As root it installs the missing ones; otherwise it prints the command to run. It never
# installs Rust, but says where there is a Rust that is new enough.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# netbase: the servers look up the number of TCP in /etc/protocols.
declare -A packages=(
    [build]="bison ca-certificates flex gcc libc6-dev libssl-dev make netbase patch pkgconf"
    [test]="haproxy iproute2 jq liblua5.1-0-dev libunistring-dev lintian nginx-light openssl python3-dev sip-tester valgrind"
    [cmake]="bison cmake flex g++ make pkgconf"
    [check]="clang-format codespell libclang-dev shellcheck"
    [fuzz]="clang g++"
    [docs]="docbook-xml docbook-xsl libxml2-utils lynx make xsltproc"
    [monitoring]="prometheus"
    [package]="debhelper dpkg-dev"
    [chroot]="debootstrap util-linux"
    [peers]="haproxy iproute2 libnginx-mod-stream nftables nginx-light"
    [shield]="iproute2 nftables"
    [cluster]="libhiredis-dev pkgconf redis-server"
    [profile]="linux-perf"
    [arm64]="binutils dpkg-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static"
    [musl]="binutils dpkg-dev musl-tools"
    [recipes]="fail2ban haproxy iproute2 logrotate nftables nginx-light openssl perl python3-systemd rsyslog systemd systemd-journal-remote util-linux"
    [rpm]="binutils rpm"
)

# version_of TOOL: prints the version of rustc or cargo, or nothing.
version_of() {
    if command -v "$1" >/dev/null; then
        { (cd "$root" && "$1" --version) || true; } | sed -n "1s/^$1 \([0-9.]*\).*/\1/p"
    fi
}

# at_least VERSION WANTED: succeeds if VERSION is WANTED or newer.
at_least() {
    [ -n "$1" ] && [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

# Prints the Debian packages with a Rust that is new enough, or nothing. Debian 12 and 13
# have rustc-web for the browsers that they update, besides an older rustc.
rust_packages() {
    local suffix version
    if ! command -v apt-cache >/dev/null; then
        return
    fi
    for suffix in "" -web; do
        version=$(apt-cache policy "rustc$suffix" | sed -n 's/^ *Candidate: \([0-9.]*\).*/\1/p')
        if at_least "$version" "$rust"; then
            echo "rustc$suffix cargo$suffix"
            return
        fi
    done
}

# Says how to get a Rust that is new enough.
rust_remedy() {
    local packages
    packages=$(rust_packages)
    if [ -n "$packages" ]; then
        echo "run 'sudo apt-get install $packages', or install a toolchain with https://rustup.rs and add ~/.cargo/bin to PATH"
    elif command -v apt-cache >/dev/null; then
        echo "install a toolchain with https://rustup.rs and add ~/.cargo/bin to PATH; Debian 12 (with its security archive) and 13 also have one in the packages rustc-web and cargo-web, which apt finds after 'sudo apt-get update'"
    else
        echo "install a toolchain with https://rustup.rs, or add ~/.cargo/bin to PATH"
    fi
}

rust=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
for tool in rustc cargo; do
    version=$(version_of "$tool")
    if ! at_least "$version" "$rust"; then
        fail "Rust $rust or newer is needed, but $tool is ${version:-not in PATH}: $(rust_remedy)"
    fi
done

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
