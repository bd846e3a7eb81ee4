#!/usr/bin/env bash
# usage: tests/service.sh RELEASE IMAGE [CACHE]
#
# Does kettle-host of its Debian package start and build under systemd, as hardened as its unit
# says? A systemd in namespaces of its own, with the packages of tests/libvirt/packages.lock and the
# compiler of the image, starts the unit; `kettle build` sends it tests/projects/hello, twice, with a
# restart in between. Control groups have no controllers there, so builds have no limit of memory.
#
#   RELEASE   a directory with the Debian packages, as scripts/release makes it
#   IMAGE     an image as scripts/build-image makes it
#   CACHE     the directory with fetched packages (default: that of scripts/build-image)
#
# Exit status: 0 passed, 1 failed, 2 wrong usage, 77 not run here.

source "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"
source "$ROOT/scripts/image/lib.sh"
source "$ROOT/scripts/image/layer.sh"
source "$ROOT/scripts/image/fetch.sh"
source "$ROOT/scripts/image/root.sh"
source "$ROOT/tests/libvirt/root.sh"

# How long it may take: systemd starts, and two builds, on a busy machine.
readonly LIMIT_SECONDS=600

(($# >= 2 && $# <= 3)) || usage "a release, an image, and at most a cache"
for file in "$1"/kettle{,-host}_*_amd64.deb; do [[ -f $file ]] || usage "$1 has no Debian packages"; done
[[ -e $2/root/usr/bin/rustc ]] || usage "$2 is no image with its root"
release=$(cd "$1" && pwd -P) image_root=$(cd "$2/root" && pwd -P)
packages=${3:-$DEFAULT_CACHE}/packages
((EUID == 0)) || not_run "it needs root"

work=$(mktemp -d "${TMPDIR:-/tmp}/kettle-service.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
fetch_tools "$work"
unpack_tools "$work/tools"
# What is on top of both roots: the packages, the trial, a source.
top=$work/top
mkdir -p "$top"/{etc,mnt,old,root,trial,usr/lib/systemd/system}
for file in "$release"/kettle{,-host}_*_amd64.deb; do dpkg-deb -x "$file" "$top"; done
printf '%s\n' root:x:0:0::/root:/bin/bash nobody:x:65534:65534::/:/bin/false >"$top/etc/passwd"
printf '%s\n' root:x:0: nogroup:x:65534: tty:x:5: disk:x:6: kmem:x:9: systemd-journal:x:101: >"$top/etc/group"
printf '127.0.0.1 localhost\n' >"$top/etc/hosts"
cp -- "$ROOT"/tests/service/trial.{service,target} "$top/usr/lib/systemd/system"
cp -- "$ROOT/tests/service/trial" "$top/trial"
cp -r -- "$ROOT/tests/projects/hello" "$top/trial/hello"
mkdir "$work"/{root,result}

status=0
timeout --signal KILL "$LIMIT_SECONDS" \
    unshare --mount --net --pid --ipc --uts --cgroup --fork --kill-child -- \
    "$BASH" "$ROOT/tests/service/enter" "$image_root" "$work" >"$work/console" 2>&1 </dev/null || status=$?
cat "$work/result/output" >&2 || true
[[ -e $work/result/passed ]] || {
    tail -n 20 "$work/console" >&2
    die "$EXIT_FAILED" "FAILED: the service, or systemd ended with status $status"
}
