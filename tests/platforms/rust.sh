# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Debian's Rust, unpacked in a folder, for targets that the machine's Rust does not have.
# Sourced, after common.sh and apt.sh; `work` has the private apt configuration.

# security_archives: prints the machine's addresses of the security archive.
security_archives() {
    # shellcheck disable=SC2016 # apt expands it
    apt-get indextargets --no-release-info --format '$(REPO_URI)' 'Created-By: Packages' \
        'Component: main' "Release: $(os_release VERSION_CODENAME)-security" | sort -u
}

# apt_for ARCHITECTURE COMMAND...: runs apt-get with the private configuration, as on a
# machine of that architecture on which nothing is installed.
apt_for() {
    local architecture=$1
    shift
    apt-get --config-file="$work/apt.conf" -o APT::Architecture="$architecture" \
        -o APT::Architectures::="$architecture" -o Dir::State::status=/dev/null \
        -o APT::Install-Recommends=false -o Debug::NoLocking=true "$@"
}

# unpack FOLDER TO: unpacks all packages in a folder.
unpack() {
    local package
    rm -rf "$2"
    mkdir -p "$2"
    for package in "$1"/*.deb; do
        dpkg-deb --extract "$package" "$2"
    done
}

# fetch_rust FOLDER PACKAGE...: unpacks Debian's rustc for browsers with the libraries that
# it needs and this machine lacks, and the packages. All are of this machine's release:
# those of others may need a newer C library.
fetch_rust() {
    local folder=$1 release archive
    # Nothing is installed, so the machine's packages need not be locked.
    local apt=(apt-get --config-file="$work/apt.conf" -o APT::Install-Recommends=false
        -o Debug::NoLocking=true
        -o APT::Architectures::=amd64 -o APT::Architectures::=arm64)
    shift
    release=$(os_release VERSION_CODENAME)
    {
        for archive in $(archives); do
            echo "deb [signed-by=$keyring target=Packages] $archive $release main"
        done
        for archive in $(security_archives); do
            echo "deb [signed-by=$keyring target=Packages] $archive $release-security main"
        done
    } >"$work/sources.list"
    "${apt[@]}" update
    "${apt[@]}" install --yes --download-only --reinstall rustc-web libstd-rust-web-dev
    mkdir -p "$work/rust"
    (cd "$work/rust" && "${apt[@]}" download "$@")
    # Another C library than the machine's would not work.
    rm -f "$work"/cache/archives/libc6_*.deb
    mv "$work"/cache/archives/*.deb "$work/rust/"
    unpack "$work/rust" "$folder"
}

# use_rust FOLDER: makes cargo use the rustc in the folder.
use_rust() {
    export LD_LIBRARY_PATH=$1/usr/lib/x86_64-linux-gnu:$1/usr/lib
    RUSTC=$(find "$1/usr" -name rustc -path '*/bin/*' | head -n 1)
    export RUSTC
}
