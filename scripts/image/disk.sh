# shellcheck shell=bash disable=SC2034,SC2153,SC2154
# Makes the disk that firmware starts: GPT, a FAT partition with a UKI, and the root image. Sourced
# after lib.sh, by build-image and cloud-image.

# These are fixed, so that the same content results in the same bytes. They are not secret.
readonly DISK_ID=6b657474-6c65-4000-8000-000000000010
readonly ESP_ID=6b657474-6c65-4000-8000-000000000011
readonly ROOT_PARTITION_ID=6b657474-6c65-4000-8000-000000000012
readonly FAT_ID=6b746c65
# The types of partitions: an EFI system partition (UEFI 2.10, section 5.3.3), and a root of x86-64
# (UAPI.1, Discoverable Partitions Specification).
readonly ESP_TYPE=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
readonly ROOT_TYPE=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709
readonly MIB=1048576 SECTORS_A_MIB=2048
# FAT has no times before 1980.
readonly FAT_EPOCH=315532800
# Beside the UKI, and the smallest partition that FAT32 fits in with clusters of 512 bytes.
readonly ESP_SPARE_MIB=2 ESP_LEAST_MIB=34

# Prints how many MiB hold a number of bytes.
whole_mib() { # BYTES
    echo $((($1 + MIB - 1) / MIB))
}

# Makes SCRATCH/disk.raw, whole MiB: 1 MiB of headers, the two partitions, and at least 1 MiB with
# the second headers at its end. BUILD-ROOT has mtools, dosfstools and fdisk; without one they are
# this machine's.
make_disk() { # BUILD-ROOT UKI ROOT-IMAGE SCRATCH [LEAST-MIB]
    local esp root whole
    esp=$(($(whole_mib "$(stat -c %s "$2")") + ESP_SPARE_MIB))
    ((esp >= ESP_LEAST_MIB)) || esp=$ESP_LEAST_MIB
    root=$(whole_mib "$(stat -c %s "$3")")
    rm -rf -- "$4"/{disk.raw,esp.img,uki.efi}
    install -m 0644 -- "$2" "$4/uki.efi"
    truncate -s "${esp}M" "$4/esp.img"
    whole=$((esp + root + 2))
    ((whole >= ${5:-0})) || whole=$5
    truncate -s "${whole}M" "$4/disk.raw"
    # shellcheck disable=SC2016 # expanded by the shell that runs it
    local partition='
        cd "$0"
        mkfs.vfat -F 32 -s 1 -i "$1" -n KETTLE --invariant esp.img >log
        export MTOOLS_SKIP_CHECK=1
        mmd -i esp.img ::/EFI ::/EFI/BOOT
        mcopy -i esp.img uki.efi ::/EFI/BOOT/BOOTX64.EFI
        printf "%s\n" "label: gpt" "label-id: $2" "first-lba: $7" \
            "start=$7, size=$(($5 * $7)), type=$8, uuid=$3, name=esp" \
            "start=$((($5 + 1) * $7)), size=$(($6 * $7)), type=$9, uuid=$4, name=root" |
            sfdisk --quiet --no-reread --no-tell-kernel disk.raw >>log'
    local values=("$FAT_ID" "$DISK_ID" "$ESP_ID" "$ROOT_PARTITION_ID" "$esp" "$root" "$SECTORS_A_MIB"
        "$ESP_TYPE" "$ROOT_TYPE")
    if [[ -n $1 ]]; then
        SOURCE_DATE_EPOCH=$FAT_EPOCH enter "$1" "$4" /usr/bin/sh -euc "$partition" /build "${values[@]}"
    else
        env -i PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C TZ=UTC SOURCE_DATE_EPOCH="$FAT_EPOCH" \
            sh -euc "$partition" "$4" "${values[@]}"
    fi
    dd if="$4/esp.img" of="$4/disk.raw" bs=1M seek=1 conv=notrunc,sparse status=none
    dd if="$3" of="$4/disk.raw" bs=1M seek="$((1 + esp))" conv=notrunc,sparse status=none
    rm -- "$4"/{esp.img,uki.efi}
}
