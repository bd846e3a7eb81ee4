# shellcheck shell=bash disable=SC2034,SC2153,SC2154
# Handles a mirror that has replaced packages of the lock: says so and what helps, or builds from
# the available packages. Sourced by build-image, after fetch.sh and resolve.sh.

# Prints the address of an archive by date, as apt knows it: a template with @SNAPSHOTID@, or
# nothing.
known_archive() {
    local lists host template
    lists=$(apt-config shell lists Dir::State::lists/d 2>/dev/null | sed "s/^lists='\(.*\)'$/\1/")
    host=$(mirror main | cut -d / -f 3)
    template=$(apt-config dump 2>/dev/null | sed -n "s/^Acquire::Snapshots::URI::\(Host::$host\|Origin::Debian\) \"\(.*\)\";$/\2/p" | head -n 1)
    if [[ -z $template && -n $lists ]]; then
        template=$(find "$lists" -maxdepth 1 -name '*Release' -exec sed -n 's/^Snapshots: //p' {} + 2>/dev/null | head -n 1)
    fi
    printf '%s\n' "$template"
}

# Ends the build; prints what is gone, and what helps.
explain_gone() { # LIST
    local archive
    archive=$(known_archive)
    say "the mirror does not have these packages of image/packages.lock any more:"
    sed 's/^/  /' "$1" >&2
    if [[ -n $archive ]]; then
        say "an archive by date has them, and apt knows one: run again with DEBIAN_ARCHIVE='$archive';"
    else
        say "an archive by date has them: run again with DEBIAN_ARCHIVE set to the address below which it has debian and debian-security,"
        say "each by time (the lock has the times, for instance $(locked_date "$LOCK" "$STABLE"));"
    fi
    say "or make another image, with a new lock: scripts/refresh-lock"
    exit "$EXIT_GONE"
}

# A lock of the available packages, made when packages are gone, and the digest that it was made
# for.
available_lock_fits() { # FILE CACHE
    local sum
    [[ -e $1 && $(sed -n 's/^# instead of //p' "$1") == "$(digest <"$IMAGE/packages.lock")" ]] || return
    while read -r _ _ _ _ _ _ sum; do
        [[ -e $2/$sum.deb ]] || return
    done < <(entries "$1")
}

# Resolves image/packages against the mirror's present state, and makes that the lock of this build.
# The committed one stays.
take_available() { # CACHE
    local file=$1/available.lock committed status
    committed=$(digest <"$LOCK")
    if ! available_lock_fits "$file" "$1"; then
        apt=$(mktemp -d "${TMPDIR:-/tmp}/kettle-lock.XXXXXX")
        # In a separate process: APT_CONFIG and the trap are not for the rest of the build. Outside
        # of any condition, so that `set -e` holds inside.
        set +e
        (
            set -e
            private_apt
            check_indexes "$LOCK" ''
            write_lock "$file"
            echo "# instead of $committed" >>"$file"
        )
        status=$?
        set -e
        rm -rf -- "$apt"
        ((status == 0)) || die "$EXIT_SETUP" "what the mirror has now could not be resolved"
    fi
    LOCK=$file
    fetch_packages "$1"
}

# Fetches the packages of the lock. Where some are gone, uses the available ones if AVAILABLE is
# set, else ends. Writes the lost packages to OUT/replaced, which is empty for the published image.
choose_packages() { # CACHE OUT AVAILABLE
    fetch_missing "$1"
    [[ ! -s $1/gone || -n $3 ]] || explain_gone "$1/gone"
    # This file does not describe an image that was made before.
    cmp --quiet -- "$1/gone" "$2/replaced" || rm -f -- "$2/key"
    cp -- "$1/gone" "$2/replaced"
    [[ -s $2/replaced ]] || return 0
    take_available "$1"
    say_replaced "$2"
}

# Prints one line: that this is not the published image, and why.
say_replaced() { # OUT
    say "NOT THE PUBLISHED IMAGE: the mirror lost $(wc -l <"$1/replaced") of its packages ($(paste -sd , "$1/replaced" | sed 's/,/, /g')), so this one is" \
        "built from what there is"
}
