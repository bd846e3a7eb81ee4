# shellcheck shell=bash disable=SC2034,SC2153,SC2154
# Packages and crates, by hash, into the cache. Sourced by build-image.

readonly PARALLEL=6

# The crates of Cargo.lock that come from a registry, as "NAME VERSION SHA256".
locked_crates() {
    awk -F '"' '/^\[\[package\]\]/ { name = version = "" } /^name = / { name = $2 } /^version = / { version = $2 }
        /^checksum = / { print name, version, $2 }' "$ROOT/Cargo.lock"
}

# One package of the lock into FOLDER/SHA256.deb, whatever was there of it before.
fetch_package() { # FOLDER SUITE PATH SIZE SHA256
    local file=$1/$5.deb part=$1/$5.part url
    local local_copy=$FIRMWARE/${3##*/}
    if [[ ! -e $local_copy ]]; then
        url=$(mirror_of "$2")/$3
        say "  ${3##*/} ($(($4 / 1024)) KiB)"
        curl --silent --show-error --fail --location --retry 3 --continue-at - --output "$part" "$url" ||
            { rm -f -- "$part" && curl --silent --show-error --fail --location --output "$part" "$url"; } || {
            say "$3 cannot be fetched. If Debian replaced it, run scripts/refresh-lock, or set DEBIAN_MIRROR to an archive that has it"
            return 1
        }
    else
        cp -- "$local_copy" "$part"
    fi
    [[ $(digest <"$part") == "$5" ]] || {
        rm -f -- "$part"
        say "$3 is not the file of image/packages.lock: sha256 differs"
        return 1
    }
    mv -- "$part" "$file"
}

mirror_of() { # SUITE
    if [[ $1 == *-security ]]; then printf '%s\n' "$SECURITY_MIRROR"; else printf '%s\n' "$MAIN_MIRROR"; fi
}

# Fetches what is missing of the lock.
fetch_packages() { # FOLDER
    local folder=$1 _ suite path size sum missing=()
    mkdir -p -- "$folder"
    while read -r _ suite _ _ path size sum; do
        [[ -e $folder/$sum.deb ]] || missing+=("$folder" "$suite" "$path" "$size" "$sum")
    done < <(entries "$LOCK")
    ((${#missing[@]})) || return 0
    say "fetching $((${#missing[@]} / 5)) packages"
    MAIN_MIRROR=$(mirror main)
    SECURITY_MIRROR=$(mirror security)
    export MAIN_MIRROR SECURITY_MIRROR FIRMWARE
    export -f fetch_package mirror_of say digest
    # shellcheck disable=SC2016 # expanded by the inner bash
    printf '%s\0' "${missing[@]}" | xargs -0 -n 5 -P "$PARALLEL" bash -c 'fetch_package "$@"' fetch
}

# Fetches the crates of Cargo.lock with this machine's cargo, which knows its registry, and checks each.
fetch_crates() { # FOLDER
    local folder=$1 name version sum home
    mkdir -p -- "$folder"
    if ! crates_complete "$folder"; then
        say "fetching crates"
        home=$(mktemp -d)
        cp -- "${CARGO_HOME:-$HOME/.cargo}"/config* "$home" 2>/dev/null || true
        CARGO_HOME=$home cargo fetch --quiet --locked --manifest-path "$ROOT/Cargo.toml"
        find "$home/registry/cache" -name '*.crate' -exec mv -t "$folder" {} +
        rm -rf -- "$home"
    fi
    while read -r name version sum; do
        [[ $(digest <"$folder/$name-$version.crate") == "$sum" ]] ||
            die "$EXIT_SETUP" "$folder/$name-$version.crate is not what Cargo.lock says: remove it"
    done < <(locked_crates)
}

crates_complete() { # FOLDER
    local name version sum
    while read -r name version sum; do
        [[ -e $1/$name-$version.crate ]] || return 1
    done < <(locked_crates)
}

# Unpacks the crates as a folder that cargo takes as a replacement of its registry.
vendor_crates() { # CRATES FOLDER
    local name version sum
    rm -rf -- "$2"
    mkdir -p -- "$2"
    while read -r name version sum; do
        tar -xzf "$1/$name-$version.crate" -C "$2" --no-same-owner --no-same-permissions
        printf '{"files":{},"package":"%s"}' "$sum" >"$2/$name-$version/.cargo-checksum.json"
    done < <(locked_crates)
}
