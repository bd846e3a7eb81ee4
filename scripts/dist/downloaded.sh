# shellcheck shell=bash disable=SC2154
# Checks the image of a release, and builds with it. Sourced by scripts/run, whose options it reads.

# The files of an image whose digests are among its reference values, and their members there.
readonly MEASURED_FILES=(firmware.fd:firmware_sha256 kernel:kernel_sha256 initrd:initrd_sha256
    cmdline:command_line_sha256 root.img:root_image_sha256)

# Unpacks the plain files of an archive into DIRECTORY, without the archive's own directory.
unpack_image() { # ARCHIVE DIRECTORY
    local names=() pair
    for pair in "${MEASURED_FILES[@]}"; do names+=("*/${pair%%:*}"); done
    mkdir -p -- "$2"
    tar --extract --file "$1" --directory "$2" --strip-components 1 --no-same-owner --wildcards --no-wildcards-match-slash \
        "${names[@]}" '*/measurements.json' '*/kettle' 2>"$2.log" || {
        say "$(tail -n 3 "$2.log")"
        die "$EXIT_SETUP" "$1 is no image of a release, or not all of it: download it again"
    }
}

# Prints the reference values for an unpacked image: the file that is named, else the file that this
# checkout has for its version.
values_for() { # DIRECTORY NAMED
    local version file=$2
    if [[ -z $file ]]; then
        version=$(jq -re '.version | select(test("^[0-9]+[.][0-9]+[.][0-9]+$"))' "$1/measurements.json") ||
            die "$EXIT_SETUP" "the image does not say its version"
        file=$ROOT/measurements/$version.json
    fi
    [[ -f $file ]] || die "$EXIT_SETUP" "$file is missing: update this checkout, or name the reference values with --measurements"
    ! jq -e 'has("withdrawn")' "$file" >/dev/null || die "$EXIT_FAILED" "$file: this image is withdrawn"
    printf '%s\n' "$file"
}

# Compares the files of an image with its reference values.
check_image() { # DIRECTORY VALUES
    local pair name expected actual
    for pair in "${MEASURED_FILES[@]}"; do
        name=${pair%%:*}
        [[ -f $1/$name && ! -L $1/$name ]] || die "$EXIT_FAILED" "the image has no file $name"
        expected=$(jq -re --arg member "${pair#*:}" '.[$member]' "$2") || die "$EXIT_SETUP" "$2 has no ${pair#*:}"
        actual=$(digest <"$1/$name")
        [[ $actual == "$expected" ]] ||
            die "$EXIT_FAILED" "the image is not the one of $2: $name has the SHA-256 $actual, and not $expected"
    done
    say "the image is the one of $2"
}

# Turns the exit status of `kettle build` into one of scripts/run.
status_of_run() { # STATUS
    case $1 in
    0) echo 0 ;;
    1 | 3) echo "$EXIT_FAILED" ;;
    *) echo "$EXIT_SETUP" ;;
    esac
}

# Builds the source of this run with a downloaded image.
run_downloaded() { # ARCHIVE MEASUREMENTS WORK
    local directory=$3/image program values options=(--vcpus "$vcpus" --memory "$memory" --nonce "$nonce" --out "$out") status=0
    for program in jq qemu-system-x86_64 tar; do
        command -v "$program" >/dev/null || die "$EXIT_SETUP" "$program is missing: run scripts/setup"
    done
    [[ -f $1 ]] || usage "$1 is no file: --image takes the archive of a release"
    unpack_image "$1" "$directory"
    values=$(values_for "$directory" "$2") || exit
    check_image "$directory" "$values"
    [[ -z $ref ]] || options+=(--ref "$ref")
    if [[ $(machine_kind) == sev-snp ]]; then
        options+=(--fetch)
        [[ -z $2 ]] || options+=(--measurements "$2")
    else
        options+=(--insecure-no-evidence)
    fi
    "$directory/kettle" build "$source" --launch qemu --image "$directory" "${options[@]}" || status=$?
    return "$(status_of_run "$status")"
}
