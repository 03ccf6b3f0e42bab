# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Access to Debian's archive without changing the machine: a private apt
# configuration leaves the machine's lists, cache and sources as they are. The
# archive's address and the proxies are taken from the machine. Sourced.

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

os_release() {
    if [ -f /etc/os-release ]; then
        sed -n "s/^$1=//p" /etc/os-release | tr -d '"'
    fi
}

# Succeeds if packages can be fetched from Debian's archive here.
on_debian() {
    [ "$(os_release ID)" = debian ] && [ -f "$keyring" ]
}

# Prints the machine's addresses of the Debian archive, as apt reads them.
archives() {
    local release
    for release in "$(os_release VERSION_CODENAME)" stable oldstable testing unstable sid; do
        # shellcheck disable=SC2016 # apt expands it
        apt-get indextargets --no-release-info --format '$(REPO_URI)' \
            'Created-By: Packages' 'Component: main' "Release: $release"
    done | grep -v '^cdrom:' | awk '!seen[$0]++'
}

# private_apt DIR: creates DIR/apt.conf, which reads DIR/sources.list.
private_apt() {
    chmod 755 "$1" # apt downloads as a user of its own
    mkdir -p "$1/lists/partial" "$1/cache/archives/partial"
    cat >"$1/apt.conf" <<-EOF
		Dir::Etc::SourceList "$1/sources.list";
		Dir::Etc::SourceParts "/dev/null";
		Dir::State::Lists "$1/lists";
		Dir::Cache "$1/cache";
		APT::Default-Release "";
		#clear APT::Update::Pre-Invoke;
		#clear APT::Update::Post-Invoke;
		#clear APT::Update::Post-Invoke-Success;
	EOF
}
