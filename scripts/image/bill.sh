# shellcheck shell=bash disable=SC2153,SC2154
# The bill of materials of the image, CycloneDX 1.6: what is in it, with digests. It follows from the outputs and the locks and has
# no time and no number of its own, so that it is the same wherever the image is; nothing that is measured depends on it.
# Sourced by build-image.

# The tree of crates, a line each: depth, name and version, licence.
crate_tree() { # BUILD-ROOT SCRATCH EDGES
    run_cargo "$1" "$2" kettle-init fat tree \
        --no-default-features \
        --features appliance \
        --edges "$3" \
        --prefix depth \
        --format '|{p}|{l}'
}

# Makes OUT/image.cdx.json, from the locks and OUT/manifest.sha256.
bill() { # BUILD-ROOT SCRATCH OUT
    local work=$2/bill
    mkdir -p -- "$work"
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
        --rawfile outputs "$3/manifest.sha256" \
        -f "$ROOT/scripts/image/bill.jq" >"$3/image.cdx.json"
}
