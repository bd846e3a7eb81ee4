# shellcheck shell=bash disable=SC2034,SC2153,SC2154
# Compiles the programs: kettle-init as the image has it, and kettle. Sourced by build-image.

readonly TARGET=x86_64-unknown-linux-gnu
# Static and position independent; the rest of the profile is in Cargo.toml.
readonly RUST_FLAGS='-C target-feature=+crt-static'

# Prints the key of the programs, which changes when any of their inputs changes, except the
# published reference values.
programs_key() {
    { root_key && files_key src Cargo.toml Cargo.lock scripts/image/compile.sh scripts/image/fetch.sh; } | digest
}

# Copies the inputs of the programs, and nothing else, to SCRATCH; compiles there kettle-init, once
# for each kernel, and a kettle without reference values, which measures. Dependencies that the same
# toolchain compiled before are reused, our own code never is.
compile() { # BUILD-ROOT CRATES SCRATCH OUT
    say "compiling kettle-init and kettle"
    copy_source "$2" "$3"
    # Side by side: for most of its time, kettle-init is one process that optimises the whole
    # program. kettle, which is compiled twice, is not optimised as a whole: a third of the time,
    # half a megabyte more.
    compile_one "$1" "$3" kettle-init appliance,modules fat "$4/kettle-init-modules" &
    compile_one "$1" "$3" kettle-init appliance fat "$4/kettle-init"
    wait $!
    compile_one "$1" "$3" kettle cli off "$4/kettle"
    compile_stub "$1" "$3" "$4/stub"
}

# Compiles the stub to one blob of code, which has to run wherever it is loaded.
compile_stub() { # BUILD-ROOT SCRATCH OUT-FILE
    local relocations
    # shellcheck disable=SC2016 # expanded in the root
    enter "$1" "$2" /usr/bin/sh -euc '
        cd /build/source/src/stub
        rustc --edition 2024 --crate-name stub --crate-type bin --emit obj=/build/stub.o --target "$1" \
            -C panic=abort -C opt-level=s -C codegen-units=1 -C relocation-model=pic main.rs
        ld -pie --no-dynamic-linker -z norelro -T link.ld -o /build/stub.elf /build/stub.o
        objcopy --output-target binary --only-section .text /build/stub.elf /build/stub' \
        sh "$TARGET"
    relocations=$(readelf --relocs --wide "$2/stub.elf")
    [[ $relocations == *'There are no relocations in this file.'* ]] ||
        die "$EXIT_FAILED" "src/stub: the blob has relocations, and nothing would make them: $relocations"
    install -m 0644 -- "$2/stub" "$3"
}

copy_source() { # CRATES SCRATCH
    rm -rf -- "$2/source"
    mkdir -p -- "$2/source" "$2/cargo" "$2/target"
    cp -r --no-preserve=all -- "$ROOT/src" "$ROOT/Cargo.toml" "$ROOT/Cargo.lock" "$2/source"
    vendor_crates "$1" "$2/vendor"
    cat >"$2/cargo/config.toml" <<END
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "/build/vendor"
END
}

# Compiles the published kettle: the same with the reference values of its release and of old ones.
# An image of other packages than the locked ones is not that release, and not published: its kettle
# has the published values, and not those of the image.
compile_verifier() { # BUILD-ROOT CRATES SCRATCH MEASUREMENTS OUT
    copy_source "$2" "$3"
    cp -r --no-preserve=all -- "$ROOT/measurements" "$3/source"
    [[ -s $5/replaced ]] || cp -- "$4" "$3/source/measurements/$(image_version).json"
    compile_one "$1" "$3" kettle cli off "$5/kettle"
}

run_cargo() { # BUILD-ROOT SCRATCH TARGET-DIRECTORY LTO COMMAND ARGUMENT…
    local root=$1 scratch=$2 directory=$3 lto=$4 command=$5
    shift 5
    enter "$root" "$scratch" /usr/bin/env \
        CARGO_HOME=/build/cargo \
        CARGO_TARGET_DIR="/build/target/$directory" \
        CARGO_PROFILE_RELEASE_LTO="$lto" \
        CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="$RUST_FLAGS" \
        /usr/bin/cargo "$command" \
        --manifest-path /build/source/Cargo.toml \
        --quiet \
        --offline \
        --locked \
        --target "$TARGET" \
        "$@"
}

compile_one() { # BUILD-ROOT SCRATCH BINARY FEATURES LTO OUT-FILE
    local directory=$3-${4//,/-}
    # cargo compares times, and a copy may be as old as what it replaces.
    run_cargo "$1" "$2" "$directory" "$5" clean --release --package kettle
    run_cargo "$1" "$2" "$directory" "$5" build \
        --release \
        --jobs "$jobs" \
        --bin "$3" \
        --no-default-features \
        --features "$4"
    install -m 0755 -- "$2/target/$directory/$TARGET/release/$3" "$6"
}
