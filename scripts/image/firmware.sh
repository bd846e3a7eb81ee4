# shellcheck shell=bash disable=SC2153,SC2154
# Builds the firmware from the source that image/firmware/source.lock names, with the patches and the platform
# description there, in the root of the locked packages. Sourced by build-image.

readonly FIRMWARE_RECIPE=$IMAGE/firmware
readonly FIRMWARE_LOCK=$FIRMWARE_RECIPE/source.lock
# The bash of the build root, if it is not found by its usual name.
readonly BUILD_SHELL=/usr/bin/bash-static

# Prints the values that the lock has for a key, a line each.
locked_source() { # WORD
    entries "$FIRMWARE_LOCK" | awk -v word="$1" '$1 == word { print substr($0, length(word) + 2) }'
}

# Prints a key that changes with every input of the firmware: the recipe, how it is run, and the root that runs it.
firmware_key() {
    { root_key && files_key image/firmware scripts/image/{firmware.sh,tree-hash}; } | digest | cut -c 1-16
}

# Unpacks the parts of an archive that the lock names, whatever the name of its topmost directory is.
unpack_firmware_source() { # ARCHIVE DIRECTORY
    local directories=() exceptions=()
    mapfile -t directories < <(locked_source directory | sed 's,^,*/,')
    mapfile -t exceptions < <(locked_source except | sed 's,^,--exclude=*/,')
    rm -rf -- "$2"
    mkdir -p -- "$2"
    xz -dc -- "$1" | tar -x \
        -C "$2" \
        --strip-components 1 \
        --no-same-owner \
        --wildcards \
        --no-wildcards-match-slash \
        "${exceptions[@]}" \
        "${directories[@]}"
}

# Succeeds if an archive is the locked one, or contains the locked source.
is_firmware_source() { # ARCHIVE
    local name size sum scratch tree
    read -r name size sum < <(locked_source archive)
    [[ $(digest <"$1") != "$sum" ]] || return 0
    say "$name is not the archive of image/firmware/source.lock ($size bytes, sha256 $sum); comparing what is in it"
    scratch=$(mktemp -d)
    tree=
    if unpack_firmware_source "$1" "$scratch/edk2"; then
        tree=$("$ROOT/scripts/image/tree-hash" "$scratch/edk2" "$scratch/git")
    fi
    rm -rf -- "$scratch"
    [[ -n $tree && $tree == "$(locked_source tree)" ]]
}

# Puts the archive into a directory: the copy beside the checkout, or else that of a mirror or of an archive by date.
fetch_firmware_source() { # FOLDER
    local name rest file part
    read -r name rest < <(locked_source archive)
    file=$1/$name part=$1/$name.part
    mkdir -p -- "$1"
    [[ ! -e $file ]] || return 0
    if [[ -e $FIRMWARE/$name ]]; then
        cp -- "$FIRMWARE/$name" "$part"
    else
        say "fetching $name"
        download_firmware_source "$file"
    fi
    is_firmware_source "$part" || {
        rm -f -- "$part"
        die "$EXIT_FAILED" "$name has neither the digest nor the tree that image/firmware/source.lock names"
    }
    mv -- "$part" "$file"
}

# Fetches the archive into FILE.part. If no server has it, the build ends: with EXIT_GONE if every server says so.
download_firmware_source() { # FILE
    local place status pool
    pool=$(locked_source pool)
    for place in "$(mirror main)" "$(archive_by_date "$STABLE")"; do
        [[ -n $place ]] || continue
        status=$(download "$place/$pool" "$1.part") && return
        rm -f -- "$1.part"
        [[ $status == 404 || $status == 410 ]] || die "$EXIT_SETUP" "$pool cannot be fetched from $place"
    done
    say "the mirror does not have ${pool##*/} any more: the source of the firmware, edk2"
    say "put the release archive of edk2's authors, or any other with the locked tree, at $1;"
    say "or run again with DEBIAN_ARCHIVE set to an archive by date"
    exit "$EXIT_GONE"
}

# Puts together the files to compile: the source, checked, with the platform, and beside it the patches, which `compile`
# applies.
prepare_firmware_tree() { # BUILD-ROOT ARCHIVE SCRATCH
    local tree directory
    unpack_firmware_source "$2" "$3/edk2"
    install -m 0755 "$ROOT/scripts/image/tree-hash" "$FIRMWARE_RECIPE/compile" "$3"
    tree=$(enter "$1" "$3" "$BUILD_SHELL" /build/tree-hash /build/edk2 /build/git)
    [[ $tree == "$(locked_source tree)" ]] ||
        die "$EXIT_FAILED" "the firmware's source has the tree $tree, and image/firmware/source.lock names $(locked_source tree)"
    while read -r directory; do
        mkdir -p -- "$3/edk2/$directory"
    done < <(locked_source empty)
    rm -rf -- "$3/patches"
    cp -r --no-preserve=all -- "$FIRMWARE_RECIPE/patches" "$3"
    cp -r --no-preserve=all -- "$FIRMWARE_RECIPE/KettlePkg" "$3/edk2"
}

# Prints the modules of a build, from edk2's report: name and path, in a fixed order.
firmware_modules() { # REPORT
    tr -d '\r' <"$1" | awk -F ': +' '
        /^Module Name:/ { name = $2 }
        /^Module INF Path:/ { print name, $2 }' | LC_ALL=C sort
}

# Fails unless the firmware consists of the modules that image/firmware/modules lists.
check_firmware_modules() { # MODULES
    diff --unified --label image/firmware/modules --label built <(entries "$FIRMWARE_RECIPE/modules") "$1" >&2 ||
        die "$EXIT_FAILED" "the firmware has other modules than image/firmware/modules names: where that is meant, change the list"
}

# Compiles the firmware to OUT, and lists its modules in OUT.modules. Further arguments go to edk2's `build`: none for
# the published firmware, and `-D START_PROCESSORS=TRUE` for one that starts the other processors itself.
make_firmware() { # BUILD-ROOT SOURCE-FOLDER SCRATCH OUT [OPTION…]
    local root=$1 source=$2 scratch=$3 out=$4 name rest
    shift 4
    read -r name rest < <(locked_source archive)
    mkdir -p -- "$scratch"
    prepare_firmware_tree "$root" "$source/$name" "$scratch"
    enter "$root" "$scratch" "$BUILD_SHELL" /build/compile "$jobs" "$@" >"$scratch/log" 2>&1 || {
        tail -n 40 "$scratch/log" >&2
        die "$EXIT_FAILED" "the firmware does not compile: the whole output is in $scratch/log"
    }
    firmware_modules "$scratch/report.txt" >"$out.modules"
    check_firmware_modules "$out.modules"
    install -m 0644 "$scratch/KETTLE.fd" "$out"
}
