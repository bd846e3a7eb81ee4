# shellcheck shell=bash disable=SC2034,SC2153,SC2154
# Fetches packages and crates, by hash, into the cache. Sourced by build-image.

readonly PARALLEL=6

# The exit status of a fetch that got another file than the locked one: xargs stops at that, and
# ends with 124.
readonly NOT_THE_LOCKED=255

# Prints the crates of Cargo.lock that come from a registry, as "NAME VERSION SHA256".
locked_crates() {
    awk -F '"' '/^\[\[package\]\]/ { name = version = "" } /^name = / { name = $2 } /^version = / { version = $2 }
        /^checksum = / { print name, version, $2 }' "$ROOT/Cargo.lock"
}

# Prints the address of the pool of a suite in an archive by date, at the time of the lock:
# $DEBIAN_ARCHIVE, in which @ARCHIVE@ (or @PATH@) stands for debian or debian-security and
# @SNAPSHOTID@ for the time; without them it is the address below which the archive has both. Prints
# nothing if it is not set.
archive_by_date() { # SUITE
    local template=${DEBIAN_ARCHIVE:-} archive=debian date
    [[ -n $template ]] || return 0
    [[ $template == *@SNAPSHOTID@* ]] || template=${template%/}/@ARCHIVE@/@SNAPSHOTID@
    [[ $(archive_of "$1") == main ]] || archive=debian-security
    date=$(locked_date "$LOCK" "$1")
    [[ -n $date ]] || die "$EXIT_FAILED" "${LOCK##*/} has no archive-date for $1"
    template=${template//@ARCHIVE@/$archive}
    template=${template//@PATH@/$archive}
    template=${template//@SNAPSHOTID@/$date}
    printf '%s\n' "${template%/}"
}

mirror_of() { # SUITE
    if [[ $1 == *-security ]]; then printf '%s\n' "$SECURITY_MIRROR"; else printf '%s\n' "$MAIN_MIRROR"; fi
}

# Fetches an address into a file, and resumes a partial one. Prints the status of the last response.
download() { # URL FILE
    local status
    status=$(curl --silent --show-error --fail --location --retry 3 --continue-at - --output "$2" --write-out '%{http_code}' "$1") && return
    case $status in
    # 000 is no response, and 416 the response to a request for the rest of a complete file.
    404 | 410) printf '%s\n' "$status" && return 1 ;;
    esac
    rm -f -- "$2"
    curl --silent --show-error --fail --location --output "$2" --write-out '%{http_code}\n' "$1"
}

# Fetches one package of the lock into DIRECTORY/SHA256.deb, whatever was there before. A package
# that no server has is written to the list of lost packages, which is no failure of this function.
fetch_package() { # DIRECTORY SUITE NAME VERSION PATH SIZE SHA256
    local file=$1/$7.deb part=$1/$7.part place by_date status
    say "  ${5##*/} ($(($6 / 1024)) KiB)"
    by_date=$(archive_by_date "$2") || return
    for place in "$(mirror_of "$2")" "$by_date"; do
        [[ -n $place ]] || continue
        if status=$(download "$place/$5" "$part"); then
            [[ $(digest <"$part") == "$7" ]] || {
                rm -f -- "$part"
                say "$5 is not the file of ${LOCK##*/}: sha256 differs"
                return "$NOT_THE_LOCKED"
            }
            mv -- "$part" "$file"
            return
        elif [[ $status != 404 && $status != 410 ]]; then
            say "$5 cannot be fetched from $place"
            return 1
        fi
    done
    printf '%s %s\n' "$3" "$4" >>"$1/gone"
}

# Fetches the missing packages of the lock. Those that the mirror has lost are listed in
# DIRECTORY/gone, "NAME VERSION".
fetch_missing() { # DIRECTORY
    local directory=$1 _ suite name version path size sum missing=()
    mkdir -p -- "$directory"
    : >"$directory/gone"
    while read -r _ suite name version path size sum; do
        [[ -e $directory/$sum.deb ]] || missing+=("$directory" "$suite" "$name" "$version" "$path" "$size" "$sum")
    done < <(entries "$LOCK")
    ((${#missing[@]})) || return 0
    say "fetching $((${#missing[@]} / 7)) packages"
    MAIN_MIRROR=$(mirror main)
    SECURITY_MIRROR=$(mirror security)
    export MAIN_MIRROR SECURITY_MIRROR LOCK EXIT_FAILED EXIT_SETUP NOT_THE_LOCKED
    export -f fetch_package download archive_by_date archive_of locked_date mirror_of say die digest
    # shellcheck disable=SC2016 # expanded by the inner bash
    printf '%s\0' "${missing[@]}" | xargs -0 -n 7 -P "$PARALLEL" bash -c 'fetch_package "$@"' fetch || {
        (($? == 124)) || die "$EXIT_SETUP" "not every package could be fetched"
        die "$EXIT_FAILED" "the mirror has another file under the name of a locked one"
    }
    LC_ALL=C sort -o "$directory/gone" "$directory/gone"
}

# Fetches the missing packages of the lock, and fails if one is lost.
fetch_packages() { # DIRECTORY
    fetch_missing "$1"
    [[ ! -s $1/gone ]] || die "$EXIT_GONE" "gone from the mirror: $(paste -sd , "$1/gone")"
}

# Fetches the crates of Cargo.lock with this machine's cargo, which has its registry configured, and
# checks each.
fetch_crates() { # DIRECTORY
    local directory=$1 name version sum home
    mkdir -p -- "$directory"
    if ! crates_complete "$directory"; then
        say "fetching crates"
        home=$(mktemp -d)
        cp -- "${CARGO_HOME:-$HOME/.cargo}"/config* "$home" 2>/dev/null || true
        CARGO_HOME=$home cargo fetch --quiet --locked --manifest-path "$ROOT/Cargo.toml"
        find "$home/registry/cache" -name '*.crate' -exec mv -t "$directory" {} +
        rm -rf -- "$home"
    fi
    while read -r name version sum; do
        [[ $(digest <"$directory/$name-$version.crate") == "$sum" ]] ||
            die "$EXIT_FAILED" "$directory/$name-$version.crate is not what Cargo.lock says: remove it"
    done < <(locked_crates)
}

crates_complete() { # DIRECTORY
    local name version sum
    while read -r name version sum; do
        [[ -e $1/$name-$version.crate ]] || return 1
    done < <(locked_crates)
}

# Unpacks the crates into a directory that replaces cargo's registry.
vendor_crates() { # CRATES DIRECTORY
    local name version sum
    rm -rf -- "$2"
    mkdir -p -- "$2"
    while read -r name version sum; do
        tar -xzf "$1/$name-$version.crate" -C "$2" --no-same-owner --no-same-permissions
        printf '{"files":{},"package":"%s"}' "$sum" >"$2/$name-$version/.cargo-checksum.json"
    done < <(locked_crates)
}
