# shellcheck shell=bash disable=SC2034,SC2153,SC2154
# Has an appliance build kettle from the source of the release, compares the bytes, and keeps the
# bundle. Sourced by scripts/release, after compile.sh.

# Writes a program that runs kettle-host in the image's root, with the network and authorities of
# this machine: the compiler, the linker and the sandbox are those of the image.
write_appliance() { # IMAGE-ROOT KETTLE-HOST FILE
    printf '#!/usr/bin/env bash\nexec unshare --mount -- %q %q %q %q "$@"\n' \
        "$BASH" "$ROOT/scripts/dist/enter-host" "$1" "$2" >"$3"
    chmod 0755 "$3"
}

# Starts the appliance of this release. Sets SERVER_URL.
start_own_appliance() { # IMAGE-ROOT SCRATCH
    ((EUID == 0)) || die "$EXIT_SETUP" "--bundle without --to needs root: kettle-host runs in the root of the image"
    say "starting kettle-host in the root of the image"
    rm -rf -- "$2/appliance-work"
    write_appliance "$1" "$2/programs/kettle-host" "$2/appliance"
    trap stop_server EXIT
    start_server "$2/appliance" "$2/appliance-work" || die "$EXIT_SETUP" "kettle-host does not start in the root of the image"
}

# Compares an artifact with the program of the release.
compare_kettle() { # ARTIFACT PROGRAM
    local built shipped
    built=$(file_digest "$1") shipped=$(file_digest "$2")
    say "kettle of the appliance: $built"
    say "kettle of this release:  $shipped"
    [[ $built == "$shipped" ]] || die "$EXIT_FAILED" "the appliance builds another kettle than this release has"
}

# Builds kettle on an appliance, and leaves OUT/kettle-VERSION.bundle.tar.gz. Without a URL the
# appliance is one of this machine.
prove() { # IMAGE-ROOT SCRATCH OUT URL
    local url=$4 options=(--fetch) status=0 kettle=$2/programs/kettle
    if [[ -z $url ]]; then
        start_own_appliance "$1" "$2"
        url=$SERVER_URL options=(--insecure-no-evidence)
    fi
    rm -rf -- "$2/bundle"
    NO_PROXY=127.0.0.1 "$kettle" build "$2/kettle" \
        --all \
        --to "$url" \
        --toolchain cargo \
        --bin kettle \
        --features cli \
        --no-default-features \
        --out "$2/bundle" \
        "${options[@]}" >&2 || status=$?
    [[ -n $4 ]] || stop_server
    ((status == 0)) || die "$EXIT_FAILED" "the appliance did not build kettle (status $status)"
    compare_kettle "$2/bundle/kettle/artifacts/kettle" "$kettle"
    install -m 0644 -- "$2/bundle/kettle.tar.gz" "$3/kettle-$version.bundle.tar.gz"
}
