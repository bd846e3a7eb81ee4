# shellcheck shell=bash disable=SC2034,SC2153,SC2154
# What follows the root image: kettle-init, initrd, command line, manifest, reference values. Sourced by build-image.

readonly TARGET=x86_64-unknown-linux-gnu
# Static and position independent; the rest of the profile is in Cargo.toml.
readonly RUST_FLAGS='-C target-feature=+crt-static'

image_version() { sed -n '0,/^version = "\(.*\)"$/s//\1/p' "$ROOT/Cargo.toml"; }

# Runs a step outside of any condition, and says how long it took.
phase() { # FUNCTION ARGUMENT…
    local start=$SECONDS
    "$@"
    ((SECONDS - start < 2)) || say "  $1: $((SECONDS - start)) s"
}

# Changes when anything that the root image is made of changes.
root_key() {
    (cd "$ROOT" && { find image/files -type f && ls image/{symbols,trim,links,folders} nix/{nix.conf,passwd,group} scripts/image/{root.sh,symbols.sh,lib.sh,enter}; } |
        LC_ALL=C sort | xargs sha256sum | cat - "$LOCK" | digest | cut -c 1-16)
}

# Copies what may influence the binaries, and nothing else, to SCRATCH; compiles there kettle-init, and a kettle without
# reference values, which measures. Dependencies that were compiled before by the same toolchain are taken again, our own
# code never.
compile() { # BUILD-ROOT CRATES SCRATCH
    say "compiling kettle-init and kettle"
    rm -rf -- "$3/source"
    mkdir -p -- "$3/source" "$3/cargo" "$3/target"
    cp -r --no-preserve=all -- "$ROOT/src" "$ROOT/Cargo.toml" "$ROOT/Cargo.lock" "$3/source"
    vendor_crates "$2" "$3/vendor"
    cat >"$3/cargo/config.toml" <<END
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "/build/vendor"
END
    # Side by side: for most of its time, kettle-init is one process that optimises the whole program. kettle, which is
    # compiled twice, is not optimised as a whole: a third of the time, half a megabyte more.
    compile_one "$1" "$3" kettle cli off &
    compile_one "$1" "$3" kettle-init appliance fat
    wait $!
}

# The kettle that is handed out: the same, knowing the reference values of its release, old ones too.
compile_verifier() { # BUILD-ROOT SCRATCH MEASUREMENTS
    cp -r --no-preserve=all -- "$ROOT/measurements" "$2/source"
    cp -- "$3" "$2/source/measurements/$(image_version).json"
    compile_one "$1" "$2" kettle cli off
}

run_cargo() { # BUILD-ROOT SCRATCH BINARY LTO COMMAND ARGUMENT…
    local root=$1 scratch=$2 binary=$3 lto=$4 command=$5
    shift 5
    enter "$root" "$scratch" /usr/bin/env \
        CARGO_HOME=/build/cargo \
        CARGO_TARGET_DIR="/build/target/$binary" \
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

compile_one() { # BUILD-ROOT SCRATCH BINARY FEATURE LTO
    # cargo compares times, and a copy may be as old as what it replaces.
    run_cargo "$1" "$2" "$3" "$5" clean --release --package kettle
    run_cargo "$1" "$2" "$3" "$5" build \
        --release \
        --jobs "$jobs" \
        --bin "$3" \
        --no-default-features \
        --features "$4"
    cp -- "$2/target/$3/$TARGET/release/$3" "$2/$3"
}

# The one kernel package's folder of modules.
module_folder() { # UNPACKED
    local folders=("$1"/usr/lib/modules/*/kernel)
    printf '%s\n' "${folders[0]}"
}

# Decompresses the modules, numbered in load order; refuses a list in which something comes before what it needs.
add_modules() { # KERNEL INITRD
    local name rest file needed number=0 loaded=' '
    while read -r name rest; do
        file=$(find "$(module_folder "$1")" -name "$name.ko.xz")
        [[ -n $file ]] || die "$EXIT_SETUP" "image/modules: the kernel has no module $name"
        printf -v target '%s/modules/%02d-%s.ko' "$2" "$number" "$name"
        xz -dc -- "$file" >"$target"
        for needed in $(tr '\0' '\n' <"$target" | sed -n 's/^depends=//p' | tr ',' ' '); do
            [[ $loaded == *" ${needed//-/_} "* ]] ||
                die "$EXIT_SETUP" "image/modules: $name needs $needed, which has to come before it"
        done
        loaded+="${name//-/_} "
        number=$((number + 1))
    done < <(entries "$IMAGE/modules")
    chmod 0444 "$2"/modules/*
}

# An archive in which order, times, owners and inode numbers are fixed.
make_initrd() { # BUILD-ROOT KERNEL INIT SCRATCH
    local kind path mode rest folder=$4/initrd
    rm -rf -- "$folder"
    mkdir -p -- "$folder"
    while read -r kind path mode rest; do
        case $kind in
        dir) install -d -m "$mode" "$folder/$path" ;;
        init) install -m "$mode" "$3" "$folder/$path" ;;
        *) die "$EXIT_SETUP" "image/initrd: unknown kind $kind" ;;
        esac
    done < <(entries "$IMAGE/initrd")
    add_modules "$2" "$folder"
    find "$folder" -exec touch -h -d "@$EPOCH" {} +
    # zstd: half the size, which the firmware copies and hashes, for some unpacking.
    # shellcheck disable=SC2016 # expanded in the root
    enter "$1" "$4" /usr/bin/sh -euc '
        cd /build/initrd
        find . -mindepth 1 | sort >/build/initrd.list
        cpio --quiet --create --format newc --reproducible --owner 0:0 </build/initrd.list >/build/initrd.cpio
        zstd --quiet --force --single-thread -19 --no-progress /build/initrd.cpio -o /build/initrd.img'
}

command_line() { # KERNEL INITRD ROOT-HASH DATA SALT
    entries "$IMAGE/cmdline" | paste -sd ' ' | tr -d '\n' | sed "s/@VERSION@/$(image_version)/
        s/@KERNEL@/$(file_digest "$1")/; s/@INITRD@/$(file_digest "$2")/
        s/@ROOT_HASH@/$3/; s/@ROOT_DATA@/$4/; s/@ROOT_SALT@/$5/"
}

# Puts the outputs together: what the host boots, and the two programs.
assemble() { # ROOT-STAGE PACKAGES OUT
    local verity file kernel
    say "assembling"
    if [[ ! -d $1/kernel ]]; then
        mkdir -p -- "$1/kernel.new" "$1/firmware"
        unpack "$1/kernel.new" "$(package_files "$2" kernel)"
        unpack "$1/firmware" "$(package_files "$2" firmware)"
        mv -- "$1/kernel.new" "$1/kernel"
    fi
    mkdir -p -- "$1/assemble"
    make_initrd "$1/tools" "$1/kernel" "$1/compile/kettle-init" "$1/assemble"
    read -r -a verity <"$1/root.verity"
    kernel=("$1"/kernel/boot/vmlinuz-*)
    command_line "${kernel[0]}" "$1/assemble/initrd.img" "${verity[@]}" >"$1/assemble/cmdline"
    install -m 0644 "${kernel[0]}" "$3/kernel"
    install -m 0644 "$1/firmware/usr/share/ovmf/OVMF.amdsev.fd" "$3/firmware.fd"
    for file in initrd.img cmdline; do install -m 0644 "$1/assemble/$file" "$3/${file%.img}"; done
    install -m 0755 "$1/compile/kettle-init" "$3"
    cp --reflink=auto --no-preserve=all -- "$1/root.img" "$3/root.img"
}

# The sha256 of every output, as sha256sum checks it.
manifest() { # OUT
    (cd "$1" && sha256sum -- cmdline firmware.fd initrd kernel kettle kettle-init root.img >manifest.sha256)
    cat "$1/manifest.sha256" >&2
}

# Names, modes, links and contents of a folder, as one digest.
tree_digest() { # FOLDER
    tar -C "$1" --create --sort name --mtime "@$EPOCH" --owner 0 --group 0 --numeric-owner . | digest
}

# A digest for every step on the way to the outputs, innermost first: where two builds part is where to look.
layers() { # ROOT-STAGE OUT
    local root_hash root_data rest module
    read -r root_hash root_data rest <"$1/root.verity"
    [[ -e $1/root.tree ]] || tree_digest "$1/root" >"$1/root.tree"
    {
        echo "1-packages $(file_digest "$LOCK")"
        echo "2-root-tree $(<"$1/root.tree")"
        echo "3-erofs $(head -c "$root_data" "$2/root.img" | digest)"
        echo "4-verity $root_hash"
        echo "5-kettle-init $(file_digest "$2/kettle-init")"
        for module in "$1"/assemble/initrd/modules/*; do
            echo "6-module-${module##*/} $(file_digest "$module")"
        done
        echo "7-initrd $(file_digest "$2/initrd")"
        echo "8-command-line $(file_digest "$2/cmdline")"
        echo "8-kernel $(file_digest "$2/kernel")"
        echo "8-firmware $(file_digest "$2/firmware.fd")"
    } >"$2/layers"
}

file_digest() { digest <"$1"; }

# Makes the reference values of this image, by the `kettle` that was just built: OUT/measurements.json, and OUT/layers.
measure() { # ROOT-STAGE OUT
    local root_hash rest types=()
    layers "$1" "$2"
    read -r root_hash rest <"$1/root.verity"
    say "measuring"
    mapfile -t types < <(printf -- '--vcpu-type\n%s\n' "${VCPU_TYPES[@]}")
    "$1/compile/kettle" measure \
        --firmware "$2/firmware.fd" \
        --kernel "$2/kernel" \
        --initrd "$2/initrd" \
        --command-line-file "$2/cmdline" \
        --guest-features "$GUEST_FEATURES" \
        --vcpus "1-$MAX_VCPUS" \
        "${types[@]}" \
        --json >"$1/measured.json"
    # Fails unless every combination has its measurement.
    jq -e \
        --arg version "$(image_version)" \
        --arg root_image "$(file_digest "$2/root.img")" \
        --arg root_hash "$root_hash" \
        --arg policy "$GUEST_POLICY" \
        --argjson count "$((${#VCPU_TYPES[@]} * MAX_VCPUS))" '
        if (.measurements | length) != $count then error("not every measurement was made") else . end |
        {
            version: $version,
            firmware_sha256,
            kernel_sha256,
            initrd_sha256,
            command_line_sha256,
            root_image_sha256: $root_image,
            root_hash: $root_hash,
            vmm,
            guest_policy: $policy,
            guest_features,
            measurements
        }' "$1/measured.json" >"$2/measurements.json"
}

# Publishes the reference values in measurements/, or says in what they differ from those that are there.
publish() { # OUT CHECK
    local published
    # choose_packages has said what this is instead.
    [[ ! -s $1/replaced ]] || return 0
    published=$ROOT/measurements/$(image_version)
    if [[ -z $2 ]]; then
        cp -- "$1/measurements.json" "$published.json"
        cp -- "$1/layers" "$published.layers"
        cp -- "$1/image.cdx.json" "$published.cdx.json"
        say "wrote measurements/${published##*/}.json"
        return
    fi
    { compare_layers "$published.layers" "$1/layers" && cmp -- "$published.json" "$1/measurements.json" >&2 &&
        cmp -- "$published.cdx.json" "$1/image.cdx.json" >&2; } ||
        die "$EXIT_FAILED" "this tree does not build what measurements/${published##*/}.json says: where the change is" \
            "meant, run scripts/build-image and commit the files of measurements/ with it"
    say "the same as measurements/${published##*/}.json"
}
