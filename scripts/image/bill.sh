# shellcheck shell=bash disable=SC2153,SC2154
# The bill of materials of the image, CycloneDX 1.6: its content, with digests. It follows from the
# outputs and the locks and has no time and no random number, so that it is the same wherever the
# image is; nothing that is measured depends on it. Sourced by build-image.

# Prints the tree of crates, a line each: depth, name and version, licence.
crate_tree() { # BUILD-ROOT SCRATCH EDGES
    run_cargo "$1" "$2" tree fat tree \
        --no-default-features \
        --features appliance \
        --edges "$3" \
        --prefix depth \
        --format '|{p}|{l}'
}

# Makes OUT/image.cdx.json, from the locks and the digests of the image with our own kernel.
# Debian's kernel, which the variant has in its place, is in it as kernel-debian.
bill() { # BUILD-ROOT SCRATCH FIRMWARE ROOT-LAYER STAGE OUT
    local work=$2/bill
    mkdir -p -- "$work"
    sha256sum -- "$3/firmware.fd" "$4/root.img" "$5"/own/{cmdline,initrd,kernel,kettle-init} |
        sed -E 's|^([0-9a-f]+)  .*/|\1  |' >"$work/outputs"
    echo "$(file_digest "$5/debian/kernel")  kernel-debian" >>"$work/outputs"
    (cd "$ROOT" && sha256sum -- image/{firmware,kernel}/patches/*.patch) >"$work/patches"
    entries "$IMAGE/firmware/source.lock" >"$work/firmware.lock"
    crate_tree "$1" "$2" normal,build >"$work/tree"
    crate_tree "$1" "$2" normal,no-proc-macro >"$work/linked"
    locked_crates >"$work/crates"
    entries "$LOCK" >"$work/packages"
    jq -n --sort-keys \
        --arg version "$(image_version)" \
        --rawfile tree "$work/tree" \
        --rawfile linked "$work/linked" \
        --rawfile crates "$work/crates" \
        --rawfile packages "$work/packages" \
        --rawfile outputs "$work/outputs" \
        --rawfile patches "$work/patches" \
        --rawfile firmware_lock "$work/firmware.lock" \
        -f "$ROOT/scripts/image/bill.jq" >"$6/image.cdx.json"
}
