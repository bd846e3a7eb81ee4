# shellcheck shell=bash disable=SC2034,SC2153,SC2154
# Compiles the programs of a release as the appliance would: with the compiler of the image's root,
# at the appliance's paths, with its environment and its command. So the appliance builds the same
# bytes from the same source, and anybody can compare them. Sourced by scripts/release, after
# image/fetch.sh.

readonly TARGET=x86_64-unknown-linux-gnu
# The files of SCRATCH/target/… that are not measured by anybody, and need no optimisation.
readonly DOCS_PROFILE=dev

# Prints the files of this tree that git knows, each with a zero byte.
tracked_files() { git -C "$ROOT" ls-files -z; }

# Copies the source as `kettle build` would send it, the crates as the appliance unpacks them, and a
# configuration that says where they are.
copy_release_source() { # CRATES SCRATCH
    rm -rf -- "$2/kettle" "$2/vendor"
    mkdir -p -- "$2"/{kettle,vendor,cargo,target}
    tracked_files | tar -C "$ROOT" --create --null --files-from - --ignore-failed-read |
        tar -C "$2/kettle" --extract --no-same-owner
    vendor_crates "$1" "$2/vendor/crates-io"
    {
        # The appliance carries over what of it decides the bytes: target and flags.
        cat -- "$ROOT/.cargo/config.toml"
        cat <<'TOML'
[source.crates-io]
replace-with = "kettle-crates-io"
[source.kettle-crates-io]
directory = "/kettle/vendor/crates-io"
TOML
    } >"$2/cargo/config.toml"
}

# Runs a program in the image's root, without network, with the directories and variables of the
# appliance's sandbox (src/sandbox/paths.rs, src/toolchain/cargo/plan.rs).
in_image() { # IMAGE-ROOT SCRATCH COMMAND…
    local root=$1 scratch=$2
    shift 2
    local variables=(
        PATH=/usr/bin:/bin
        HOME=/kettle/home
        LANG=C.UTF-8
        TZ=UTC
        "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH"
        AR=/usr/bin/ar
        CC=/usr/bin/cc
        CXX=/usr/bin/c++
        RUSTC=/usr/bin/rustc
        RUSTC_WORKSPACE_WRAPPER=
        RUSTC_WRAPPER=
        RUSTDOC=/usr/bin/rustdoc
        CARGO_HOME=/kettle/cargo
        CARGO_INCREMENTAL=0
        CARGO_NET_OFFLINE=true
        CARGO_TARGET_DIR=/kettle/target
        CARGO_TERM_COLOR=never
        CARGO_TERM_PROGRESS_WHEN=never
        CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=/usr/bin/cc
    )
    bwrap \
        --unshare-all \
        --die-with-parent \
        --hostname kettle \
        --ro-bind "$root/usr" /usr \
        --ro-bind "$root/etc" /etc \
        --symlink usr/bin /bin \
        --symlink usr/lib /lib \
        --symlink usr/lib64 /lib64 \
        --proc /proc \
        --dev /dev \
        --tmpfs /tmp \
        --dir /kettle/home \
        --ro-bind "$scratch/kettle" /kettle/source \
        --ro-bind "$scratch/vendor" /kettle/vendor \
        --ro-bind "$scratch/cargo" /kettle/cargo \
        --bind "$scratch/target" /kettle/target \
        --chdir /kettle/cargo \
        -- /usr/bin/env -i "${variables[@]}" "$@"
}

# Compiles one program with one feature.
compile_program() { # IMAGE-ROOT SCRATCH BINARY FEATURE PROFILE
    say "compiling $3"
    in_image "$1" "$2" /usr/bin/cargo build \
        --quiet \
        --profile "$5" \
        --locked \
        --offline \
        --jobs "$jobs" \
        --features "$4" \
        --no-default-features \
        --target "$TARGET" \
        --bin "$3" \
        --manifest-path /kettle/source/Cargo.toml
}

# Makes OUT/kettle, OUT/kettle-host and OUT/docs. Dependencies that this toolchain compiled before
# are used again; our own code never is.
compile_programs() { # IMAGE-ROOT CRATES SCRATCH OUT
    copy_release_source "$2" "$3"
    rm -rf -- "$3/target/docs"
    mkdir -p -- "$4"
    # cargo compares times, and a copy may be as old as what it replaces.
    local profile
    for profile in release "$DOCS_PROFILE"; do
        in_image "$1" "$3" /usr/bin/cargo clean \
            --quiet \
            --offline \
            --profile "$profile" \
            --target "$TARGET" \
            --package kettle \
            --manifest-path /kettle/source/Cargo.toml
    done
    compile_program "$1" "$3" kettle cli release
    compile_program "$1" "$3" kettle-host host release
    compile_program "$1" "$3" kettle-docs cli-docs "$DOCS_PROFILE"
    install -m 0755 -- "$3/target/$TARGET/release"/{kettle,kettle-host} "$4"
    in_image "$1" "$3" "/kettle/target/$TARGET/debug/kettle-docs" /kettle/target/docs
    rm -rf -- "$4/docs"
    mv -- "$3/target/docs" "$4/docs"
}
