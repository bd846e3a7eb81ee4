# shellcheck shell=bash disable=SC2034,SC2153
# Starts the image as a virtual machine of this host. Sourced after lib.sh, image/lib.sh and
# image/launch.sh.

# How long a machine may take from power to its first answer, under emulation on a busy host.
readonly BOOT_SECONDS=120
# How long one question may take. QEMU accepts a connection long before there is anybody in the machine, and asks there ever more
# rarely: a new question is quicker than patience, until so many seconds have shown that this host is slow.
readonly ASK_SECONDS=0.3 ASK_PATIENTLY_SECONDS=5 QUICK_SECONDS=30
# What SNP guests of this image get. The launch measurement covers the type and the number of processors: scripts/build-image
# publishes one for each; `sev-snp-guest` takes the position of the C-bit and its cost in address bits as Milan, Genoa and
# Turin have them (QEMU, docs/system/i386/amd-memory-encryption.rst).
readonly SNP_CPU=EPYC-v4 SNP_CBITPOS=51 SNP_REDUCED_PHYS_BITS=1

# Which of the three this machine can do: sev-snp, kvm or tcg. A /dev/kvm without virtualisation below it hangs kernels.
machine_kind() {
    if ! grep -qwE 'svm|vmx' /proc/cpuinfo || [[ ! -w /dev/kvm ]]; then
        echo tcg
    elif [[ -w /dev/sev && $(cat /sys/module/kvm_amd/parameters/sev_snp 2>/dev/null) == [Y1] ]] &&
        qemu-system-x86_64 -object help | grep -q sev-snp-guest; then
        echo sev-snp
    else
        echo kvm
    fi
}

# Sets MACHINE_ARGUMENTS: accelerator, processors, memory, firmware.
machine_arguments() { # KIND IMAGE VCPUS MEMORY-MIB
    MACHINE_ARGUMENTS=(-smp "$3" -m "$4M")
    case $1 in
    tcg) MACHINE_ARGUMENTS+=(-accel 'tcg,thread=multi' -cpu max) ;;
    kvm) MACHINE_ARGUMENTS+=(-accel kvm -cpu host) ;;
    sev-snp)
        MACHINE_ARGUMENTS+=(
            -accel kvm
            -cpu "$SNP_CPU"
            -machine 'q35,vmport=off,confidential-guest-support=sev0,memory-backend=ram0'
            -object "memory-backend-memfd,id=ram0,size=$4M,share=true,prealloc=false"
            -object "sev-snp-guest,id=sev0,policy=$GUEST_POLICY,cbitpos=$SNP_CBITPOS,reduced-phys-bits=$SNP_REDUCED_PHYS_BITS,kernel-hashes=on"
            -bios "$2/firmware.fd"
        )
        ;;
    esac
}

# Two ports of the loopback that nobody listens on.
free_ports() {
    local port found=()
    while ((${#found[@]} < 2)); do
        port=$((20000 + SRANDOM % 12000))
        (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || found+=("$port")
    done
    echo "${found[@]}"
}

# Boots an image and waits until it serves. Sets SERVER_PID, SERVER_URL and SERVER_TLS_URL; stop_server ends it.
start_machine() { # KIND IMAGE INITRD VCPUS MEMORY-MIB WORK
    local kind=$1 image=$2 initrd=$3 work=$6 clear tls options=''
    read -r clear tls < <(free_ports)
    [[ $kind != sev-snp ]] || options=,disable-legacy=on,iommu_platform=on
    machine_arguments "$kind" "$image" "$4" "$5"
    qemu-system-x86_64 \
        "${MACHINE_ARGUMENTS[@]}" \
        -nodefaults -no-reboot -display none \
        -serial "file:$work/console" \
        -kernel "$image/kernel" \
        -initrd "$initrd" \
        -append "$(<"$image/cmdline")" \
        -drive "file=$image/root.img,format=raw,if=none,id=root,readonly=on" \
        -device "virtio-blk-pci,drive=root$options" \
        -netdev "user,id=net,hostfwd=tcp:127.0.0.1:$clear-:80,hostfwd=tcp:127.0.0.1:$tls-:443" \
        -device "virtio-net-pci,netdev=net,romfile=$options" \
        >"$work/qemu.log" 2>&1 </dev/null &
    SERVER_PID=$! SERVER_URL=http://127.0.0.1:$clear SERVER_TLS_URL=https://127.0.0.1:$tls
    wait_for_machine "$work"
}

# Ends with the machine's last words if it does not come to serve.
wait_for_machine() { # WORK
    local start=$SECONDS limit=$ASK_SECONDS
    until [[ $(api --max-time "$limit" "$SERVER_URL/health" 2>/dev/null) == ok ]]; do
        if ! is_running "$SERVER_PID" || ((SECONDS - start > BOOT_SECONDS)); then
            tail -n 20 "$1/qemu.log" "$1/console" >&2
            stop_server
            return 1
        fi
        ((SECONDS - start < QUICK_SECONDS)) || limit=$ASK_PATIENTLY_SECONDS
        sleep 0.05
    done
}

# An initrd with an archive behind it, which the kernel unpacks after and over the first: it begins at a multiple of 4 bytes.
with_segment() { # INITRD SEGMENT
    cat -- "$1"
    head -c "$((-$(stat -c %s "$1") & 3))" /dev/zero
    cat -- "$2"
}

# A simulated secure processor for a machine without one: keys in WORK/keys, and WORK/initrd, the image's initrd with a
# segment behind it whose /init offers /dev/sev-guest and then becomes the image's own, unchanged.
simulate_processor() { # SIMULATOR IMAGE PACKAGES MEASUREMENT WORK
    local package
    package=$3/$(entries "$LOCK" | awk '$1 == "kernel" { print $7 }').deb
    dpkg-deb --fsys-tarfile "$package" | tar --extract --to-stdout --wildcards '*/fs/fuse/cuse.ko.xz' | xz -dc >"$5/cuse.ko"
    "$1" keys --out "$5/keys" --measurement "$4"
    "$1" segment --keys "$5/keys" --init "$2/kettle-init" --module "$5/cuse.ko" --out "$5/segment"
    with_segment "$2/initrd" "$5/segment" >"$5/initrd"
}

# The published launch measurement of a shape.
published_measurement() { # IMAGE VCPU-TYPE VCPUS
    jq -er --arg type "$2" --argjson vcpus "$3" \
        '.measurements[] | select(.vcpu_type == $type and .vcpus == $vcpus).measurement' "$1/measurements.json"
}
