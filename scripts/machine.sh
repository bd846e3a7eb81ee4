# shellcheck shell=bash disable=SC2034,SC2153
# Starts the image as a virtual machine of this host. Sourced after lib.sh, image/lib.sh and
# image/launch.sh.

# How long a machine may take from power to its first response, under emulation on a busy host.
readonly BOOT_SECONDS=120
# How long one request may take. QEMU accepts a connection long before anything listens in the
# machine, and retries there ever more rarely: a new request is faster than waiting, until this many
# seconds have shown that this host is slow.
readonly ASK_SECONDS=0.3 ASK_PATIENTLY_SECONDS=5 QUICK_SECONDS=30
# The processors of SNP guests of this image. The launch measurement covers their type and number:
# scripts/build-image publishes one for each; `sev-snp-guest` takes the position of the C-bit and
# its cost in address bits as Milan, Genoa and Turin have them (QEMU,
# docs/system/i386/amd-memory-encryption.rst).
readonly SNP_CPU=EPYC-v4 SNP_CBITPOS=51 SNP_REDUCED_PHYS_BITS=1

# QEMU's user network, with a range that is public by its numbers, because phases that fetch reach
# no other: a server on the loopback of this host is at 25.0.2.2.
readonly USER_NETWORK=net=25.0.2.0/24,host=25.0.2.2,dns=25.0.2.3,dhcpstart=25.0.2.15

# Prints the best kind that this machine supports: sev-snp, kvm or tcg. A /dev/kvm without hardware
# virtualisation hangs kernels.
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

# Adds the processors of a machine without SEV-SNP to MACHINE_ARGUMENTS.
add_processors() { # KIND
    case $1 in
    tcg) MACHINE_ARGUMENTS+=(-accel 'tcg,thread=multi' -cpu max) ;;
    kvm) MACHINE_ARGUMENTS+=(-accel kvm -cpu host) ;;
    esac
}

# Sets MACHINE_ARGUMENTS: accelerator, processors, memory, firmware, and the files to boot. A launch
# with SEV-SNP puts the page of kernel hashes in place itself; elsewhere it is loaded as if one had.
# KETTLE is the program that makes the page, where it is not the image's own.
machine_arguments() { # KIND IMAGE KERNEL INITRD VCPUS MEMORY-MIB WORK
    local booted=(-kernel "$3" -initrd "$4" -append "$(<"$2/cmdline")") page=$7/kernel-hashes address
    MACHINE_ARGUMENTS=(-smp "$5" -m "$6M" -bios "$2/firmware.fd" "${booted[@]}")
    if [[ $1 != sev-snp ]]; then
        address=$("${KETTLE:-$2/kettle}" kernel-hashes \
            --firmware "$2/firmware.fd" \
            --kernel "$3" \
            --initrd "$4" \
            --command-line-file "$2/cmdline" \
            --out "$page") || die "$EXIT_SETUP" "the page of kernel hashes could not be made"
        MACHINE_ARGUMENTS+=(-machine q35 -device "loader,file=$page,addr=$address,force-raw=on")
    fi
    case $1 in
    tcg | kvm) add_processors "$1" ;;
    sev-snp)
        MACHINE_ARGUMENTS+=(
            -accel kvm
            -cpu "$SNP_CPU"
            -machine 'q35,vmport=off,confidential-guest-support=sev0,memory-backend=ram0'
            -object "memory-backend-memfd,id=ram0,size=$6M,share=true,prealloc=false"
            -object "sev-snp-guest,id=sev0,policy=$GUEST_POLICY,cbitpos=$SNP_CBITPOS,reduced-phys-bits=$SNP_REDUCED_PHYS_BITS,kernel-hashes=on"
        )
        ;;
    esac
}

# Prints two free ports of the loopback.
free_ports() {
    local port found=()
    while ((${#found[@]} < 2)); do
        port=$((20000 + SRANDOM % 12000))
        (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || found+=("$port")
    done
    echo "${found[@]}"
}

# Boots an image and waits until it serves, as power_on says.
start_machine() { # KIND IMAGE KERNEL INITRD VCPUS MEMORY-MIB WORK
    local options=''
    [[ $1 != sev-snp ]] || options=,disable-legacy=on,iommu_platform=on
    machine_arguments "$@"
    power_on "$2/root.img" "$7" "$options"
}

# Starts a machine with MACHINE_ARGUMENTS, a disk and a network, and waits until it serves. OPTIONS
# are those of its virtio devices. Sets SERVER_PID, SERVER_URL and SERVER_TLS_URL, and
# MACHINE_START, the time of power-on; stop_server ends it.
power_on() { # DISK WORK [OPTIONS]
    local clear tls
    read -r clear tls < <(free_ports)
    MACHINE_START=$EPOCHREALTIME
    qemu-system-x86_64 \
        "${MACHINE_ARGUMENTS[@]}" \
        -nodefaults -no-reboot -display none \
        -serial "file:$2/console" \
        -drive "file=$1,format=raw,if=none,id=root,readonly=on" \
        -device "virtio-blk-pci,drive=root${3-}" \
        -netdev "user,id=net,$USER_NETWORK,hostfwd=tcp:127.0.0.1:$clear-:80,hostfwd=tcp:127.0.0.1:$tls-:443" \
        -device "virtio-net-pci,netdev=net,romfile=${3-}" \
        >"$2/qemu.log" 2>&1 </dev/null &
    SERVER_PID=$! SERVER_URL=http://127.0.0.1:$clear SERVER_TLS_URL=https://127.0.0.1:$tls
    wait_for_machine "$2"
}

# Fails with the console's last lines if the machine does not serve.
wait_for_machine() { # WORK
    local start=$SECONDS limit=$ASK_SECONDS
    until [[ $(api --max-time "$limit" "$SERVER_URL/health" 2>/dev/null) == ok ]]; do
        if ! is_running "$SERVER_PID" || ((SECONDS - start > BOOT_SECONDS)); then
            tail -n 20 "$1/qemu.log" >&2
            [[ ! -f $1/console ]] || tail -n 20 "$1/console" >&2
            stop_server
            return 1
        fi
        ((SECONDS - start < QUICK_SECONDS)) || limit=$ASK_PATIENTLY_SECONDS
        sleep 0.05
    done
}

# Writes an initrd with an archive after it, which the kernel unpacks after and over the first: it
# begins at a multiple of 4 bytes.
with_segment() { # INITRD SEGMENT
    cat -- "$1"
    head -c "$((-$(stat -c %s "$1") & 3))" /dev/zero
    cat -- "$2"
}

# Makes a simulated secure processor for a machine without one: keys in WORK/keys, and WORK/initrd,
# the image's initrd with a segment after it whose /init offers /dev/sev-guest and then becomes the
# image's own, unchanged. It needs the kernel that has character devices of programs,
# IMAGE/kernel-test.
simulate_processor() { # SIMULATOR IMAGE MEASUREMENT WORK
    "$1" keys --out "$4/keys" --measurement "$3"
    "$1" segment --keys "$4/keys" --init "$2/kettle-init" --out "$4/segment"
    with_segment "$2/initrd" "$4/segment" >"$4/initrd"
}

# Boots an image with a secure processor, a simulated one where there is none, and waits until it
# serves. SIMULATOR is the program for the latter. Sets what start_machine sets, and TRUST_ROOT: the
# file with the simulated one's root, else empty.
start_attested_machine() { # KIND IMAGE VCPUS MEMORY-MIB WORK
    local kernel=$2/kernel initrd=$2/initrd
    TRUST_ROOT=
    if [[ $1 != sev-snp ]]; then
        simulate_processor "$SIMULATOR" "$2" "$(measurement_of "$2" "$SNP_CPU" "$3")" "$5"
        kernel=$2/kernel-test initrd=$5/initrd TRUST_ROOT=$5/keys/trust-root.pem
    fi
    start_machine "$1" "$2" "$kernel" "$initrd" "$3" "$4" "$5"
}

# Prints the launch measurement of a shape of the image.
measurement_of() { # IMAGE VCPU-TYPE VCPUS
    "$1/kettle" measure \
        --firmware "$1/firmware.fd" \
        --kernel "$1/kernel" \
        --initrd "$1/initrd" \
        --command-line-file "$1/cmdline" \
        --vcpu-type "$2" \
        --vcpus "$3"
}
