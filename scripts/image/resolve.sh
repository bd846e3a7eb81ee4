# shellcheck shell=bash disable=SC2034,SC2153,SC2154
# Resolves image/packages against the present state of a Debian mirror. Sourced by
# scripts/refresh-lock, and by longevity.sh. The functions work in the directory $apt, an apt root
# with nothing installed that uses nothing of this machine but its mirror.

readonly STABLE=trixie
# Debian's next release. Only the packages that image/packages names with the role next come from
# there.
readonly NEXT=forky
# The suites in order of preference: where two have the same version, the lock names the first.
readonly SUITES=("$STABLE" "$STABLE-updates" "$STABLE-security" "$STABLE-backports" "$NEXT")
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
# libc, and the libraries of the compiler: everything else is linked to them.
readonly ONLY_STABLE='^pool/main/g/(glibc|gcc-[0-9.]+|gcc-defaults)/'
# The hours after which an archive by date has the packages of an index.
readonly ARCHIVE_DELAY='6 hours'

# Prints the names of image/packages with a role.
names() { # ROLE
    entries "$IMAGE/packages" | awk -v role="$1" '$1 == role { print $2 }'
}

source_entry() { # ARCHIVE SUITE…
    local archive=$1
    shift
    cat <<END
Types: deb
URIs: $(mirror "$archive")
Suites: $*
Components: main
Signed-By: $KEYRING
Check-Valid-Until: no

END
}

# Makes a suite's packages unavailable, except the named ones, which win over stable's.
pin() { # SUITE NAME…
    local suite=$1
    shift
    printf 'Package: *\nPin: release n=%s\nPin-Priority: -1\n\n' "$suite"
    (($# == 0)) || printf 'Package: %s\nPin: release n=%s\nPin-Priority: 990\n\n' "$*" "$suite"
}

# Writes the packages that apt takes for installed: those that image/packages replaces by others.
installed() {
    entries "$IMAGE/packages" | awk '$1 == "instead" {
        print "Package: " $2 "\nStatus: install ok installed\nArchitecture: amd64\nVersion: 999\n" }'
}

# Describes the private apt that resolves image/packages, and reads the indexes. Sets APT_CONFIG for
# all that follows.
private_apt() {
    local backports next
    mapfile -t backports < <(names backports)
    mapfile -t next < <(names next)
    mkdir -p "$apt/etc/apt.conf.d" "$apt/etc/preferences.d" "$apt/state/lists/partial" "$apt/cache/archives/partial"
    installed >"$apt/status"
    {
        source_entry main "$STABLE" "$STABLE-updates"
        source_entry security "$STABLE-security"
        source_entry main "$STABLE-backports" "$NEXT"
    } >"$apt/etc/debian.sources" || exit
    {
        pin "$STABLE-backports" "${backports[@]}"
        pin "$NEXT" "${next[@]}"
    } >"$apt/etc/preferences.d/kettle"
    use_private_apt "${SUITES[@]}"
}

# Writes the configuration that keeps apt within $apt, with the sources there, and reads the
# indexes. Sets APT_CONFIG for all that follows.
use_private_apt() { # SUITE…
    cat >"$apt/config" <<END
Dir::Etc "$apt/etc";
Dir::Etc::sourcelist "$apt/etc/debian.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "$apt/etc/preferences.d";
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::GzipIndexes "false";
APT::Sandbox::User "";
END
    export APT_CONFIG=$apt/config
    say "reading $*"
    apt-get update -qq --error-on=any >&2 || die "$EXIT_SETUP" "apt could not read the archive"
}

# Prints a field of a suite's Release file, or nothing.
release_field() { # SUITE FIELD
    local file
    for file in "$apt"/state/lists/*_dists_"$1"_{InRelease,Release}; do
        [[ ! -e $file ]] || { sed -n "s/^$2: //p" "$file" | head -n 1 && return; }
    done
}

# Prints the time at which an archive by date has a suite as it was read now.
archive_date() { # SUITE
    local date
    date=$(release_field "$1" Date)
    [[ -n $date ]] || die "$EXIT_SETUP" "the Release file of $1 has no date"
    TZ=UTC date -d "$date + $ARCHIVE_DELAY" +%Y%m%dT%H%M%SZ
}

# A signature says who made an index, but not that it is the newest. So an index is refused that is
# older than the one that the lock was made from. One that its publisher calls outdated is also
# refused, with two exceptions that are only reported: the next release's, because that suite's
# mirrors lag, and all of them with --available.
check_indexes() { # LOCK STRICT
    local suite date until
    for suite in "${SUITES[@]}"; do
        date=$(archive_date "$suite") || exit
        if [[ -e $1 && $date < $(locked_date "$1" "$suite") ]]; then
            die "$EXIT_SETUP" "the mirror's index of $suite is older ($date) than the one that the lock was made of" \
                "($(locked_date "$1" "$suite")): use another mirror"
        fi
        until=$(release_field "$suite" Valid-Until)
        [[ -n $until && $(date -d "$until" +%s) -lt $EPOCHSECONDS ]] || continue
        [[ -z $2 || $suite == "$NEXT" ]] ||
            die "$EXIT_SETUP" "the mirror's index of $suite is outdated since $until: use another mirror"
        say "the mirror's index of $suite is outdated since $until; what it names is taken as it is"
    done
}

# Prints every package of the archive in the form of the lock, without its role.
known() {
    # shellcheck disable=SC2016 # apt's variables
    apt-get indextargets --format '$(CODENAME) $(FILENAME)' 'Created-By: Packages' | while read -r suite index; do
        awk -v suite="$suite" '
            /^Package: / { name = $2 } /^Version: / { version = $2 } /^Filename: / { path = $2 }
            /^Size: / { size = $2 } /^SHA256: / { sum = $2 }
            /^$/ { if (name != "") print suite, name, version, path, size, sum; name = "" }
            END { if (name != "") print suite, name, version, path, size, sum }' "$index"
    done
}

# Prints the packages that apt would install, as "NAME VERSION".
closure() { # NAME…
    apt-get install -s -o Debug::NoLocking=1 "$@" | sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*/\1 \2/p'
}

# Prints the packages that a metapackage names, as "NAME VERSION".
named_by() { # PATTERN NAME
    closure "$2" | grep -E "^$1 "
}

# Prints the lines of the archive for "NAME VERSION" from standard input, with a role. A version is
# in the first suite that has it.
locked() { # ROLE
    awk -v role="$1" -v OFS=' ' '
        NR == FNR { if (!(($2, $3) in line)) line[$2, $3] = $0; next }
        ($1, $2) in line { print role, line[$1, $2]; next }
        { print "not in the archive: " $0 > "/dev/stderr"; failed = 1 }
        END { exit failed }' "$apt/known" -
}

resolve() {
    local image tool
    mapfile -t image < <(names image && entries "$IMAGE/packages" | awk '$1 == "instead" { print $3 }')
    mapfile -t tool < <(names tool)
    closure "${image[@]}" | awk 'dropping { drop[$1]; next } !($1 in drop)' dropping=1 <(names drop) dropping=0 - >"$apt/image"
    locked image <"$apt/image"
    closure "${tool[@]}" | grep -vxFf "$apt/image" | locked tool
    named_by 'linux-image-[0-9].*' "$(names kernel)" | locked kernel
    named_by 'linux-source-[0-9].*' "$(names source)" | locked source
}

# Prints the lock of a description that has tools only.
resolve_tools() {
    local tool
    mapfile -t tool < <(names tool)
    closure "${tool[@]}" | locked tool
}

# Fails unless the packages that are not from stable are exactly those that image/packages names as
# such.
check_origins() { # LINES
    local wrong unused
    wrong=$(awk -v only_stable="$ONLY_STABLE" -v stable="$STABLE" -v backports="$STABLE-backports" -v next_release="$NEXT" '
        naming { named[$1 == "next" ? next_release : backports, $2]; next }
        $2 != backports && $2 != next_release { next }
        $5 ~ only_stable || !(($2, $3) in named) { print $3 " of " $2 }' \
        naming=1 <(entries "$IMAGE/packages" | grep -E '^(backports|next) ') naming=0 "$1")
    [[ -z $wrong ]] || {
        say "these would not come from $STABLE, or never may: ${wrong//$'\n'/, }; see image/packages on backports and next"
        return 1
    }
    unused=$(awk 'NR == FNR { locked[$3]; next } !($2 in locked) { print $2 }' "$1" \
        <(entries "$IMAGE/packages" | grep -E '^(backports|next) ') | grep -vxFf <(names drop) || true)
    [[ -z $unused ]] || {
        say "image/packages names packages of backports or of the next release that nothing needs: ${unused//$'\n'/, }"
        return 1
    }
}

# Writes a whole lock to a file, or nothing unless everything is found.
write_lock() { # FILE
    local suite
    known >"$apt/known"
    # Outside of any condition, so that `set -e` holds inside.
    set -E
    trap 'say "image/packages could not be resolved"; exit "$EXIT_SETUP"' ERR
    resolve >"$apt/lock"
    check_origins "$apt/lock"
    trap - ERR
    set +E
    {
        echo '# Written by scripts/refresh-lock. ROLE SUITE PACKAGE VERSION POOL-PATH SIZE SHA256'
        for suite in "${SUITES[@]}"; do
            echo "# archive-date $suite $(archive_date "$suite")"
        done
        LC_ALL=C sort "$apt/lock"
    } >"$1.new"
    mv -- "$1.new" "$1"
}

# Prints the differences of two locks, a line each.
lock_changes() { # OLD NEW
    join -a 1 -a 2 -e - -o 0,1.2,2.2 \
        <(entries "$1" | awk '{ print $1 "/" $3, $4 }' | LC_ALL=C sort -k 1,1) \
        <(entries "$2" | awk '{ print $1 "/" $3, $4 }' | LC_ALL=C sort -k 1,1) |
        awk '$2 == $3 { next }
            { split($1, part, "/") }
            $2 == "-" { print "added   " part[1], part[2], $3; next }
            $3 == "-" { print "removed " part[1], part[2], $2; next }
            { print "changed " part[1], part[2], $2, "->", $3 }'
}
