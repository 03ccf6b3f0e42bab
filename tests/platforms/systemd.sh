#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The units of the module's cookbook, as they are printed there, with a real systemd and
# the packaged server and module of this machine's Debian: systemd.sh
#
# apt installs them in a separate system, which is created for this and removed
# afterwards. systemd runs there as the first process of its own namespaces, without an
# emulator, so the hardening is done by this machine's kernel. This creates a control group
# below the root of the machine's, and removes it.

source "$(dirname "${BASH_SOURCE[0]}")/../../kamailio-glue/scripts/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../../kamailio-glue/scripts/apt.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../support/recipe.sh"

suite=$(os_release VERSION_CODENAME)
source "$(dirname "${BASH_SOURCE[0]}")/system.sh"

logs=$build/systemd
controls=$(findmnt --noheadings --list --types cgroup2 --output TARGET | head -n 1)
[ -n "$controls" ] || fail "this needs a mounted file system of control groups, version 2"
group=$controls/tcp_conn_limit-$$

install_packages() {
    install_in_system systemd dbus kamailio netbase nftables
    mkdir "$system/packages"
    KAMAILIO=$PACKAGED_KAMAILIO PACKAGE_DIR=$system/packages \
        make -C "$root" package-deb KAMAILIO_SRC="$PACKAGED_SRC"
    in_system sh -c 'apt-get install --yes --no-install-recommends /packages/*.deb'
    # The services of the system may start now.
    rm "$system/usr/sbin/policy-rc.d"
}

write_files() {
    local units=$system/etc/systemd/system
    mkdir -p "$units/kamailio.service.d"
    recipe hardening >"$units/kamailio.service.d/hardening.conf"
    recipe socket >"$units/sip-ban.socket"
    recipe service >"$units/sip-ban.service"
    recipe script >"$system/usr/local/sbin/sip-ban"
    chmod 755 "$system/usr/local/sbin/sip-ban"
    {
        echo "#!/usr/sbin/nft -f"
        recipe sets
    } >"$system/etc/nftables.conf"
    {
        cat <<-'END'
			#!KAMAILIO
			children=1
			tcp_children=1
			log_stderror=no
			listen=tcp:127.0.0.1:5060
			loadmodule "kex.so"
			loadmodule "cfg_rpc.so"
			loadmodule "ctl.so"
			modparam("ctl", "binrpc", "unix:/run/kamailio/ctl.sock")
			loadmodule "tcp_conn_limit.so"
			modparam("tcp_conn_limit", "tcp_conn_limit", 3)
			modparam("tcp_conn_limit", "attach", "interpose")
		END
        recipe exec
        echo 'request_route { exit; }'
    } >"$system/etc/kamailio/kamailio.cfg"
}

# boot SYSTEM GROUP: becomes the systemd of the folder, whose processes are in the control
# group.
boot() {
    echo "$BASHPID" >"$2/cgroup.procs"
    # shellcheck disable=SC2016 # The other shell expands it.
    exec unshare --cgroup --mount --pid --net --uts --ipc --fork --kill-child sh -euc '
        ip link set lo up
        mount --bind "$1" "$1"
        cd "$1"
        mount -t proc proc proc
        mount -t sysfs sysfs sys
        mount -t cgroup2 cgroup2 sys/fs/cgroup
        for folder in run tmp dev; do mount -t tmpfs tmpfs "$folder"; done
        for node in full null random tty urandom zero; do
            touch "dev/$node"
            mount --bind "/dev/$node" "dev/$node"
        done
        mkdir dev/pts dev/shm
        mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
        mount -t tmpfs tmpfs dev/shm
        ln -s pts/ptmx dev/ptmx
        ln -s /proc/self/fd dev/fd
        mkdir -p mnt/machine
        pivot_root . mnt/machine
        umount --lazy /mnt/machine
        exec env --ignore-environment container=other \
            PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
    ' sh "$1"
}

stop_system() {
    # systemd ends with it, and with systemd all that it has started. It ignores SIGTERM.
    kill -KILL "$unshared" 2>/dev/null || true
    wait "$unshared" 2>/dev/null || true
    # The kernel needs a moment to empty the groups.
    until_true remove_group
    rm -rf "$work"
}

remove_group() {
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
    [ ! -e "$group" ]
}

# until_true COMMAND...: waits until COMMAND succeeds, for at most 60 seconds.
until_true() {
    local end=$((SECONDS + 60))
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || fail "did not succeed within 60 s: $*"
        sleep 0.2
    done
}

# there COMMAND...: runs COMMAND in the system that systemd runs.
there() {
    nsenter --target "$init" --all -- "$@"
}

is_booted() {
    init=$(pgrep --parent "$unshared" --exact systemd) &&
        [ "$(there systemctl is-system-running 2>/dev/null)" = running ]
}

# has COMMAND FIELD VALUE: succeeds if FIELD of the server's answer is VALUE.
has() {
    there kamcmd -s unix:/run/kamailio/ctl.sock "$1" 2>/dev/null | grep -qx "[[:space:]]*$2: $3"
}

# status_has FIELD VALUE: succeeds if all of the server's processes have this value.
status_has() {
    local process
    for process in $(there pidof kamailio); do
        there grep -Pqx "$1:\t$2" "/proc/$process/status" || return 1
    done
}

# active UNIT...: succeeds if all units are active.
active() {
    there systemctl is-active --quiet "$@"
}

bans() {
    there nft list set inet sip greedy4 | grep -qF "127.0.0.1 timeout 10m"
}

logs_rejection() {
    there journalctl --unit kamailio | grep -qF "rejected connection from 127.0.0.1: 3 connections, limit 3"
}

# The hardened server is limited, and its pipe starts the service that bans.
check() {
    until_true has tcp_conn_limit.stats attached interpose
    status_has NoNewPrivs 1
    status_has CapBnd 0000000000000000
    status_has Seccomp 2
    active kamailio nftables sip-ban.socket
    if active sip-ban.service; then
        fail "the service runs before the first ban"
    fi
    mkfifo "$work/held"
    # shellcheck disable=SC2016 # The other shell expands it.
    there bash -c '
        for number in 1 2 3 4 5; do exec {fd}<>/dev/tcp/127.0.0.1/5060; done
        echo open
        read -r _
    ' <"$work/held" >"$work/client" &
    exec {held}>"$work/held"
    until_true grep -q open "$work/client"
    until_true has tcp_conn_limit.stats rejected 2
    has tcp_conn_limit.stats connections 3
    has tcp_conn_limit.audit differences 0
    until_true logs_rejection
    until_true bans
    active sip-ban.service
    exec {held}>&-
    until_true has tcp_conn_limit.stats connections 0
    there systemctl stop kamailio
    [ "$(there systemctl show kamailio --property Result)" = "Result=success" ]
}

say "creating a system with systemd ..."
logged "$logs/system.log" "creating a system of $suite" bootstrap
assignments=$("$glue/scripts/packaged.sh")
eval "$assignments"
say "installing the server and the module ..."
logged "$logs/install.log" "installing the server and the module" install_packages
write_files
say "starting systemd ..."
mkdir "$group"
boot "$system" "$group" >"$logs/boot.log" 2>&1 </dev/null &
unshared=$!
trap stop_system EXIT
until_true is_booted
there systemctl enable --quiet --now nftables sip-ban.socket
there systemctl restart kamailio
check
say "systemd $(there systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p'): the hardened server limits, and its pipe starts the service that bans"
