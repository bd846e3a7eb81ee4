# shellcheck shell=bash
# What follows the root image: kettle-init, initrd, command line, manifest, reference values. Sourced by build-image.

readonly TARGET=x86_64-unknown-linux-gnu
# Static and position independent; the rest of the profile is in Cargo.toml.
readonly RUST_FLAGS='-C target-feature=+crt-static'
readonly FAMILIES=(EPYC-v4 EPYC-Milan EPYC-Genoa EPYC-Turin)

image_version() { sed -n '0,/^version = "\(.*\)"$/s//\1/p' "$ROOT/Cargo.toml"; }

# Runs a step outside of any condition, and says how long it took.
phase() { # FUNCTION ARGUMENT…
    local start=$SECONDS
    "$@"
    ((SECONDS - start < 2)) || say "  $1: $((SECONDS - start)) s"
}

# Changes when anything that the root image is made of changes.
root_key() {
    (cd "$ROOT" && { find image/files -type f && ls image/{packages.lock,trim,links,folders} scripts/image/{root.sh,lib.sh,enter}; } |
        LC_ALL=C sort | xargs sha256sum | digest | cut -c 1-16)
}

# Copies what may influence the binaries, and nothing else, to SCRATCH; compiles both there. Dependencies that were
# compiled before by the same toolchain are taken again, our own code never.
compile() { # BUILD-ROOT CRATES SCRATCH
    say "compiling kettle-init and kettle"
    rm -rf -- "$3/kettle"
    mkdir -p -- "$3/kettle" "$3/cargo"
    cp -r --no-preserve=all -- "$ROOT/src" "$ROOT/Cargo.toml" "$ROOT/Cargo.lock" "$3/kettle"
    vendor_crates "$2" "$3/vendor"
    cat >"$3/cargo/config.toml" <<END
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "/build/vendor"
END
    # cargo compares times, and a copy may be as old as what it replaces.
    enter "$1" "$3" /usr/bin/env CARGO_HOME=/build/cargo /usr/bin/sh -c '
        cd /build/kettle && cargo clean --quiet --offline --release --target '"$TARGET"' --package kettle'
    compile_one "$1" "$3" kettle-init appliance
    compile_one "$1" "$3" kettle cli
}

compile_one() { # BUILD-ROOT SCRATCH BINARY FEATURE
    enter "$1" "$2" /usr/bin/env \
        CARGO_HOME=/build/cargo \
        CARGO_TARGET_DIR=/build/target \
        CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="$RUST_FLAGS" \
        /usr/bin/cargo build \
        --manifest-path /build/kettle/Cargo.toml \
        --quiet \
        --offline \
        --locked \
        --release \
        --jobs "$jobs" \
        --target "$TARGET" \
        --bin "$3" \
        --no-default-features \
        --features "$4"
    cp -- "$2/target/$TARGET/release/$3" "$2/$3"
}
