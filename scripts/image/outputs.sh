# shellcheck shell=bash disable=SC2034,SC2153,SC2154
# The outputs after the root image: kettle-init, initrd, command line, manifest, reference values.
# Sourced by build-image.

image_version() { sed -n '0,/^version = "\(.*\)"$/s//\1/p' "$ROOT/Cargo.toml"; }

# Prints the key of the root image, which changes when any of its inputs changes.
root_key() {
    {
        cat -- "$LOCK"
        files_key image/{files,symbols,trim,links,folders} nix/{nix.conf,passwd,group} \
            scripts/image/{root.sh,symbols.sh,libraries.sh,lib.sh,enter}
    } | digest | cut -c 1-16
}

# Makes LAYER/firmware.fd, and LAYER/firmware.modules with its content.
make_firmware_layer() { # BUILD-ROOT SOURCES SCRATCH LAYER
    say "making the firmware"
    make_firmware "$1" "$2" "$3" "$4/firmware.fd"
    mv -- "$4/firmware.fd.modules" "$4/firmware.modules"
}

# Unpacks Debian's kernel: OUT/kernel, and its modules below OUT/package.
unpack_debian_kernel() { # PACKAGES OUT
    local kernel
    mkdir -p -- "$2/package"
    unpack "$2/package" "$(package_files "$1" kernel)" >/dev/null
    kernel=("$2"/package/boot/vmlinuz-*)
    install -m 0644 -- "${kernel[0]}" "$2/kernel"
}

debian_kernel_key() { { entries "$LOCK" | grep '^kernel ' && files_key scripts/image/{root.sh,outputs.sh}; } | digest | cut -c 1-16; }

# Prints the directory of modules in the kernel package.
module_directory() { # UNPACKED
    local directories=("$1"/usr/lib/modules/*/kernel)
    printf '%s\n' "${directories[0]}"
}

# Decompresses the modules, numbered in load order; refuses a list in which something comes before
# what it needs.
add_modules() { # PACKAGE INITRD
    local name rest file needed number=0 loaded=' '
    mkdir -p -- "$2/modules"
    while read -r name rest; do
        file=$(find "$(module_directory "$1")" -name "$name.ko.xz")
        [[ -n $file ]] || die "$EXIT_FAILED" "image/debian-kernel/modules: the kernel has no module $name"
        printf -v target '%s/modules/%02d-%s.ko' "$2" "$number" "$name"
        xz -dc -- "$file" >"$target"
        for needed in $(tr '\0' '\n' <"$target" | sed -n 's/^depends=//p' | tr ',' ' '); do
            [[ $loaded == *" ${needed//-/_} "* ]] ||
                die "$EXIT_FAILED" "image/debian-kernel/modules: $name needs $needed, which has to come before it"
        done
        loaded+="${name//-/_} "
        number=$((number + 1))
    done < <(entries "$IMAGE/debian-kernel/modules")
    chmod 0444 "$2"/modules/*
}

# Writes an archive in which order, times, owners and inode numbers are fixed.
make_initrd() { # BUILD-ROOT INIT SCRATCH OUT-FILE [MODULES-PACKAGE]
    local kind path mode rest directory=$3/initrd
    rm -rf -- "$directory"
    mkdir -p -- "$directory"
    while read -r kind path mode rest; do
        case $kind in
        dir) install -d -m "$mode" "$directory/$path" ;;
        init) install -m "$mode" "$2" "$directory/$path" ;;
        *) die "$EXIT_FAILED" "image/initrd: unknown kind $kind" ;;
        esac
    done < <(entries "$IMAGE/initrd")
    [[ -z ${5-} ]] || add_modules "$5" "$directory"
    find "$directory" -exec touch -h -d "@$EPOCH" {} +
    # zstd: half the size, which the firmware copies and hashes, for some unpacking.
    # shellcheck disable=SC2016 # expanded in the root
    enter "$1" "$3" /usr/bin/sh -euc '
        cd /build/initrd
        find . -mindepth 1 | sort >/build/initrd.list
        cpio --quiet --create --format newc --reproducible --owner 0:0 </build/initrd.list >/build/initrd.cpio
        zstd --quiet --force --single-thread -19 --no-progress /build/initrd.cpio -o /build/initrd.img'
    install -m 0644 -- "$3/initrd.img" "$4"
}

# Writes the words of image/cmdline, with or without those of the variant.
command_line() { # DIRECTORY ROOT-HASH DATA SALT [VARIANT-FILE]
    local directory=$1 hash=$2 data=$3 salt=$4 variant=
    [[ -z ${5-} ]] || variant=$(entries "$5" | paste -sd ' ')
    entries "$IMAGE/cmdline" | sed "s/^@VARIANT@$/$variant/" | sed '/^$/d' | paste -sd ' ' | tr -d '\n' | sed "s/@VERSION@/$(image_version)/
        s/@KERNEL@/$(file_digest "$directory/kernel")/; s/@INITRD@/$(file_digest "$directory/initrd")/
        s/@ROOT_HASH@/$hash/; s/@ROOT_DATA@/$data/; s/@ROOT_SALT@/$salt/"
}

# Assembles the files that a host boots, once for each kernel: STAGE/own and STAGE/debian with
# kernel, initrd, cmdline and kettle-init.
assemble() { # ROOT-LAYER PROGRAMS KERNEL DEBIAN-KERNEL STAGE
    local verity
    say "assembling"
    read -r -a verity <"$1/root.verity"
    rm -rf -- "$5"
    mkdir -p -- "$5"/{own,debian,scratch}
    install -m 0755 -- "$2/kettle-init" "$5/own/kettle-init"
    install -m 0644 -- "$3/kernel" "$5/own/kernel"
    make_initrd "$1/tools" "$5/own/kettle-init" "$5/scratch" "$5/own/initrd"
    command_line "$5/own" "${verity[@]}" >"$5/own/cmdline"
    command_line "$5/own" "${verity[@]}" "$IMAGE/cloud/azure.cmdline" >"$5/own/azure.cmdline"
    make_uki "$2" "$5/own" cmdline "$5/own/disk.efi"
    make_uki "$2" "$5/own" azure.cmdline "$5/own/azure.efi"

    install -m 0755 -- "$2/kettle-init-modules" "$5/debian/kettle-init"
    install -m 0644 -- "$4/kernel" "$5/debian/kernel"
    make_initrd "$1/tools" "$5/debian/kettle-init" "$5/scratch" "$5/debian/initrd" "$4/package"
    command_line "$5/debian" "${verity[@]}" "$IMAGE/debian-kernel/cmdline" >"$5/debian/cmdline"
}

# Makes what firmware starts from a disk: the stub with a directory's kernel and initrd, and one of
# its command lines.
make_uki() { # PROGRAMS DIRECTORY COMMAND-LINE OUT-FILE
    "$1/kettle" uki \
        --stub "$1/stub" \
        --kernel "$2/kernel" \
        --initrd "$2/initrd" \
        --command-line-file "$2/$3" \
        --out "$4" >&2
}

# Makes the disk of the image itself, for its digest: STAGE/own/disk.raw. scripts/cloud-image makes
# it again where somebody wants it.
make_own_disk() { # ROOT-LAYER STAGE
    make_disk "$1/tools" "$2/own/disk.efi" "$1/root.img" "$2/own"
}

# Puts the outputs together.
deliver() { # ROOT-LAYER FIRMWARE KERNEL STAGE WHICH-KERNEL OUT
    install -m 0644 -- "$4/$5"/{kernel,initrd,cmdline} "$6"
    install -m 0755 -- "$4/$5/kettle-init" "$6"
    install -m 0644 -- "$4/own"/{disk.efi,azure.efi} "$6"
    install -m 0644 -- "$2/firmware.fd" "$2/firmware.modules" "$3/kernel.config" "$3/kernel-test" "$6"
    cp --reflink=auto --no-preserve=all -- "$1/root.img" "$6/root.img"
    echo "$5" >"$6/kernel-kind"
}

# Writes the sha256 of every output, as sha256sum checks it, without the files that only tests use.
manifest() { # OUT
    (cd "$1" && sha256sum -- azure.efi cmdline disk.efi firmware.fd initrd kernel kettle kettle-init root.img >manifest.sha256)
    cat "$1/manifest.sha256" >&2
}

# Writes a digest for every step on the way to the outputs, innermost first: the first difference of
# two builds is the place to look.
layers() { # ROOT-LAYER FIRMWARE KERNEL STAGE OUT
    local root_hash root_data rest
    read -r root_hash root_data rest <"$1/root.verity"
    {
        echo "1-packages $(file_digest "$LOCK")"
        echo "2-root-tree $(<"$1/root.tree")"
        echo "3-erofs $(head -c "$root_data" "$1/root.img" | digest)"
        echo "4-verity $root_hash"
        echo "5-kettle-init $(file_digest "$4/own/kettle-init")"
        echo "6-kernel-config $(file_digest "$3/kernel.config")"
        echo "6-firmware-modules $(file_digest "$2/firmware.modules")"
        echo "7-initrd $(file_digest "$4/own/initrd")"
        echo "8-command-line $(file_digest "$4/own/cmdline")"
        echo "8-kernel $(file_digest "$4/own/kernel")"
        echo "8-firmware $(file_digest "$2/firmware.fd")"
        echo "9-debian-kettle-init $(file_digest "$4/debian/kettle-init")"
        echo "9-debian-initrd $(file_digest "$4/debian/initrd")"
        echo "9-debian-command-line $(file_digest "$4/debian/cmdline")"
        echo "9-debian-kernel $(file_digest "$4/debian/kernel")"
        echo "9-uki-azure $(file_digest "$4/own/azure.efi")"
        echo "9-uki-disk $(file_digest "$4/own/disk.efi")"
        echo "10-disk $(file_digest "$4/own/disk.raw")"
    } >"$5/layers"
}

file_digest() { digest <"$1"; }

# Makes the reference values of this image, as it is launched and from its disk, and of its variant,
# by the `kettle` that was just built: OUT/measurements.json.
measure() { # ROOT-LAYER FIRMWARE PROGRAMS STAGE OUT
    local root_hash rest kernel boot
    read -r root_hash rest <"$1/root.verity"
    say "measuring"
    for kernel in own debian; do install -m 0644 -- "$2/firmware.fd" "$4/$kernel"; done
    measure_chains "$3/kettle" "$4/own" >"$4/measured.json"
    for boot in disk azure; do
        "$3/kettle" measure --uki "$4/own/$boot.efi" --json | jq --arg name "$boot" '{name: $name, pcrs}'
    done | jq --slurp . >"$4/boot.json"
    # Fails unless every vCPU type has its chain.
    jq -e --compact-output \
        --arg version "$(image_version)" \
        --arg root_image "$(file_digest "$1/root.img")" \
        --arg root_hash "$root_hash" \
        --arg disk "$(file_digest "$4/own/disk.raw")" \
        --arg uki "$(file_digest "$4/own/disk.efi")" \
        --slurpfile boot "$4/boot.json" \
        --arg policy "$GUEST_POLICY" \
        --argjson max_vcpus "$MAX_VCPUS" \
        --argjson types "${#VCPU_TYPES[@]}" '
        if (.chains | length) != $types then error("not every vCPU type was measured") else . end |
        {
            format: 2,
            version: $version,
            firmware_sha256,
            kernel_sha256,
            initrd_sha256,
            command_line_sha256,
            root_image_sha256: $root_image,
            root_hash: $root_hash,
            disk_sha256: $disk,
            uki_sha256: $uki,
            vmm,
            guest_policy: $policy,
            guest_features,
            max_vcpus: $max_vcpus,
            boot: $boot[0],
            chains
        }' "$4/measured.json" | by_line >"$5/measurements.json"
    measure_variant "$3/kettle" "$4/debian" debian-kernel "$5"
}

# Prints compact JSON with a line for each chain and each variant: small, and a difference is still
# readable.
by_line() { sed 's/{"vcpu_type"/\n&/g; s/"variants"/\n&/; s/{"name"/\n&/g'; }

# Prints the measurements of a launch of DIRECTORY's firmware, kernel, initrd and command line, for
# every vCPU type.
measure_chains() { # KETTLE DIRECTORY
    local types=()
    mapfile -t types < <(printf -- '--vcpu-type\n%s\n' "${VCPU_TYPES[@]}")
    "$1" measure \
        --firmware "$2/firmware.fd" \
        --kernel "$2/kernel" \
        --initrd "$2/initrd" \
        --command-line-file "$2/cmdline" \
        --guest-features "$GUEST_FEATURES" \
        "${types[@]}" \
        --chain \
        --json |
        jq -e '.chains |= map({vcpu_type, vcpu_signature, launch_digest, bsp_vmsa, ap_vmsa})'
}

# Adds an image with another kernel to measurements.json of OUT. DIRECTORY has that variant's
# kernel, initrd and cmdline, and the same firmware as OUT.
measure_variant() { # KETTLE DIRECTORY NAME OUT
    cmp -- "$2/firmware.fd" "$4/firmware.fd" >&2 || die "$EXIT_FAILED" "variant $3 has another firmware than the image"
    measure_chains "$1" "$2" >"$4/measurements.variant"
    jq -e --compact-output --arg name "$3" --slurpfile measured "$4/measurements.variant" '
        .variants += [$measured[0] | {
            name: $name,
            kernel_sha256,
            initrd_sha256,
            command_line_sha256,
            chains
        }]' "$4/measurements.json" | by_line >"$4/measurements.new"
    mv -- "$4/measurements.new" "$4/measurements.json"
    rm -- "$4/measurements.variant"
}

# Publishes the reference values in measurements/, or reports how they differ from those that are
# there.
publish() { # OUT CHECK
    local published
    # choose_packages has reported that this is another image.
    [[ ! -s $1/replaced ]] || return 0
    published=$ROOT/measurements/$(image_version)
    if [[ -z $2 ]]; then
        # Its values stay as they were published: a reader who looks for them has to find that they
        # are withdrawn.
        [[ ! -e $published.json ]] || ! jq -e 'has("withdrawn")' "$published.json" >/dev/null ||
            die "$EXIT_FAILED" "measurements/${published##*/}.json is withdrawn: another image is another version," \
                "so change 'version' in Cargo.toml"
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
