#!/usr/bin/env bash
# usage: tests/libvirt.sh IMAGE [CACHE]
#
# Does Debian's libvirt start the image from image/libvirt.xml, and is nothing left of it? Unpacks
# the packages of tests/libvirt/packages.lock into a root of their own, with a network of its own;
# there `kettle build --launch libvirt:qemu:///system` builds tests/projects/hello under emulation,
# and is killed in another build. The definition with launchSecurity is compared with libvirt's
# schema. Nothing of this machine's own libvirt or network is used or changed.
#
#   IMAGE   an image as scripts/build-image makes it
#   CACHE   the directory with fetched packages (default: that of scripts/build-image)
#
# Exit status: 0 passed, 1 failed, 2 wrong usage, 77 not run here.

source "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"
source "$ROOT/scripts/image/lib.sh"
source "$ROOT/scripts/image/layer.sh"
source "$ROOT/scripts/image/fetch.sh"
source "$ROOT/scripts/image/root.sh"
source "$ROOT/tests/libvirt/root.sh"

(($# >= 1 && $# <= 2)) || usage "an image, and at most a cache"
[[ -e $1/firmware.fd && -x $1/kettle ]] || usage "$1 is no image"
image=$(cd "$1" && pwd -P)
packages=${2:-$DEFAULT_CACHE}/packages
((EUID == 0)) || not_run "it needs root"

# Unpacks the packages, and writes what their scripts would have.
make_libvirt_root() { # DIRECTORY
    unpack_tools "$1"
    mkdir -p -- "$1"/{image,test,var/lib/libvirt,var/log/libvirt,var/cache/libvirt}
    printf '%s\n' root:x:0:0::/root:/bin/bash nobody:x:65534:65534::/:/bin/false libvirt-qemu:x:64055:64055::/:/bin/false \
        libvirt-dnsmasq:x:64058:64058::/:/bin/false >"$1/etc/passwd"
    printf '%s\n' root:x:0: nogroup:x:65534: libvirt-qemu:x:64055: libvirt-dnsmasq:x:64058: kvm:x:64056: >"$1/etc/group"
    printf '127.0.0.1 localhost %s\n' "$(hostname)" >"$1/etc/hosts"
    # Everything here is root, and there is neither a security module nor a control group to use.
    printf '%s\n' 'user = "root"' 'group = "root"' 'security_driver = "none"' 'cgroup_controllers = []' \
        'remember_owner = 0' 'namespaces = []' >"$1/etc/libvirt/qemu.conf"
    printf '%s\n' 'auth_unix_rw = "none"' 'auth_unix_ro = "none"' >"$1/etc/libvirt/libvirtd.conf"
}

# Fills the template in as image/README.md says.
fill_in() { # FILE
    sed -e "s|@NAME@|kettle|; s|@MEMORY_MIB@|8192|; s|@VCPUS@|4|" \
        -e "s|@FIRMWARE@|/image/firmware.fd|; s|@KERNEL@|/image/kernel|; s|@INITRD@|/image/initrd|; s|@ROOT@|/image/root.img|" \
        -e "s|@CMDLINE@|$(<"$image/cmdline")|" "$ROOT/image/libvirt.xml" >"$1"
}

work=$(mktemp -d "${TMPDIR:-/tmp}/kettle-libvirt.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
fetch_tools "$work"
make_libvirt_root "$work/root"
cp -r -- "$ROOT/tests/projects/hello" "$work/root/test/hello"
cp -- "$ROOT/tests/libvirt/inside" "$work/root/test/inside"
fill_in "$work/root/test/domain.xml"
status=0
unshare --mount --net --pid --ipc --uts --fork --kill-child -- "$BASH" "$ROOT/tests/libvirt/enter" "$work/root" "$image" || status=$?
exit "$status"
