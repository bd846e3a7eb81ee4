# shellcheck shell=bash disable=SC2034,SC2154
# Fetches and unpacks the packages of tests/libvirt/packages.lock. Sourced by the tests that need
# them, after scripts/image/root.sh; they set `packages`, the directory of fetched packages.

# The exit status of a test that cannot run here.
readonly NOT_RUN=77
# The packages of the tests, and not of the image.
LOCK=$ROOT/tests/libvirt/packages.lock

not_run() {
    say "NOT RUN: $*"
    exit "$NOT_RUN"
}

# Fetches the packages; those that the mirror has lost are replaced by what it has now, because these
# are tools of a test and not of the product.
fetch_tools() { # WORK
    (fetch_missing "$packages") || not_run "the packages cannot be fetched from here"
    [[ -s $packages/gone ]] || return 0
    say "the mirror has replaced $(paste -sd , "$packages/gone"): taking what it has now"
    "$ROOT/tests/libvirt/refresh-lock" "$1/packages.lock" || not_run "the mirror cannot be read"
    LOCK=$1/packages.lock
    (fetch_missing "$packages") || not_run "the packages cannot be fetched from here"
    [[ ! -s $packages/gone ]] || not_run "the mirror does not have what its own index names"
}

# Unpacks the packages into a new root, without running anything of them.
unpack_tools() { # DIRECTORY
    local directory files=()
    mkdir -p -- "$1"/usr/{bin,sbin,lib,lib64} "$1"/{proc,sys,dev,run,tmp,etc,var}
    for directory in bin sbin lib lib64; do ln -s "usr/$directory" "$1/$directory"; done
    ln -s /run "$1/var/run"
    mapfile -t files < <(package_files "$packages" libvirt)
    unpack "$1" "${files[@]}" >/dev/null
    [[ -e $1/usr/bin/sh ]] || ln -s bash "$1/usr/bin/sh"
}
