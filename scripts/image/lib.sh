# shellcheck shell=bash disable=SC2034,SC2153,SC2154
# The line above is there because the scripts that source this file use its names.
# Shared by the scripts that make the image: the paths of its description, and the mirror. Sourced after ../lib.sh.

# scripts/web has a description of its own.
: "${IMAGE:=$ROOT/image}"
readonly IMAGE
# The lock of the packages. longevity.sh uses another one if the mirror has lost packages of this one.
LOCK=$IMAGE/packages.lock
# The directory beside the checkout that may have the source of the firmware, which mirrors do not keep for ever.
readonly FIRMWARE=$ROOT/../shared/firmware

# Prints the lines of a description, without comments and empty lines.
entries() { # FILE
    sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]*$/d' "$1"
}

# Prints a mirror's address, without a slash at its end: $DEBIAN_MIRROR or $DEBIAN_SECURITY_MIRROR, or else the one that
# this machine's apt uses.
mirror() { # main|security
    local label=Debian variable=DEBIAN_MIRROR found=
    if [[ $1 == security ]]; then label=Debian-Security variable=DEBIAN_SECURITY_MIRROR; fi
    if [[ -n ${!variable:-} ]]; then
        found=${!variable}
    elif [[ $1 == security && -n ${DEBIAN_MIRROR:-} ]]; then
        found=${DEBIAN_MIRROR%/}-security
    elif command -v apt-get >/dev/null; then
        # shellcheck disable=SC2016 # apt's variables
        found=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
            awk -F '|' -v label="$label" '$1 == "Debian" && $2 == label { print $3; exit }')
    fi
    [[ -n $found ]] || die "$EXIT_SETUP" "no Debian mirror for $1: run apt-get update, or set $variable"
    printf '%s\n' "${found%/}"
}

# Prints the date that a lock has for a suite, or nothing.
locked_date() { # LOCK SUITE
    sed -n "s/^# archive-date $2 //p" "$1"
}

# Prints which of the two archives a suite is in.
archive_of() { # SUITE
    if [[ $1 == *-security ]]; then echo security; else echo main; fi
}

# Prints the suite as which versions are compared: stable, its updates and its security updates count as one.
family() { # SUITE
    local suite=${1%-security}
    printf '%s\n' "${suite%-updates}"
}

# The time of every file of the image, and of compilers, so that nothing depends on today's date.
readonly EPOCH=0

# Prints a key that changes with every input of the outputs. The files published for this version are made from the
# outputs, so they are left out.
image_key() {
    (cd "$ROOT" && find src image nix measurements scripts/image scripts/build-image Cargo.toml Cargo.lock -type f \
        ! -path "measurements/$(image_version).*" -print0 |
        LC_ALL=C sort -z | xargs -0 sha256sum | cat - "$LOCK" | digest)
}

# Prints the digest by which outputs and caches are kept.
digest() { sha256sum | cut -d ' ' -f 1; }

# Runs a command in a root, without network. It sees nothing of this machine but SCRATCH, at /build. It is root there,
# by being root here or in a user namespace.
enter() { # ROOT SCRATCH COMMAND…
    local flags=(--mount --pid --ipc --uts --net --fork --kill-child)
    ((EUID == 0)) || flags+=(--user --map-root-user)
    unshare "${flags[@]}" -- "$BASH" "$ROOT/scripts/image/enter" "$@"
}

# Compares two lists of layers, and names every one that differs, innermost first.
compare_layers() { # LAYERS LAYERS
    local differences
    differences=$(join -a 1 -a 2 -e missing -o 0,1.2,2.2 -- <(LC_ALL=C sort "$1") <(LC_ALL=C sort "$2") |
        awk '$2 != $3 { print $1 }' | sort -n | paste -sd ' ')
    [[ -z $differences ]] || {
        say "these layers differ: $differences; the first is the cause, the others may follow from it"
        return 1
    }
}
