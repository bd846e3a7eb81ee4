#!/usr/bin/env bash
# usage: tests/release.sh [--quick | [--twice] [--boot] [--bundle] [--service]] IMAGE [CACHE]
#
# Is a release what scripts/dist/README.md says? Makes one with scripts/release, and uses each file as
# its receiver would: checksums, programs, man pages, completions, packages, the image's own check.
#
#   --quick    takes the programs as they are: kettle of IMAGE, and kettle-host as cargo compiles it
#              here for tests
#   --twice    makes it once more in another place, with nothing compiled before, and compares all bytes
#   --boot     boots the image of the release with scripts/run --image, and builds with it
#   --bundle   has kettle-host build kettle in the root of the image, and compares the bytes
#   --service  starts the unit of kettle-host under systemd, with tests/service.sh
#   IMAGE      an image as scripts/build-image makes it
#   CACHE      as for scripts/release
#
# Exit status: 0 passed, 1 failed, 2 wrong usage, 77 not run here.

source "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"
source "$ROOT/scripts/image/lib.sh"
source "$ROOT/scripts/image/layer.sh"
source "$ROOT/scripts/image/outputs.sh"

readonly NOT_RUN=77

quick='' twice='' boot='' service='' options=() arguments=()
while (($#)); do
    case $1 in
    --quick) quick=1 ;;
    --twice) twice=1 ;;
    --boot) boot=1 ;;
    --bundle) options+=(--bundle) ;;
    --service) service=1 ;;
    -*) usage "unknown option: $1" ;;
    *) arguments+=("$1") ;;
    esac
    shift
done
((${#arguments[@]} >= 1 && ${#arguments[@]} <= 2)) || usage "an image, and at most a cache"
[[ -e ${arguments[0]}/measurements.json ]] || usage "${arguments[0]} is no image"
image=$(cd "${arguments[0]}" && pwd -P)
cache=${arguments[1]:-$DEFAULT_CACHE}
version=$(image_version)

fail() { die "$EXIT_FAILED" "FAILED: $*"; }
passed() { say "ok: $*"; }

make_release() { # CACHE OUT OPTION…
    "$ROOT/scripts/release" --image "$image" --cache "$1" --out "$2" "${@:3}" || {
        (($? == EXIT_SETUP)) || fail "scripts/release"
        exit "$NOT_RUN"
    }
}

# Checks that a program is static, starts, and says its version.
check_program() { # FILE NAME
    [[ $("$1" --version) == "$2 $version" ]] || fail "$1 does not say $2 $version"
    ! readelf -l "$1" | grep -q INTERP || fail "$1 is not static"
}

# Checks that pages are rendered without a warning and describe what their names say.
check_pages() { # DIRECTORY PAGE…
    local page text warnings directory=$1
    shift
    for page; do
        [[ -e $directory/$page ]] || fail "there is no man page $page"
    done
    for page in "$directory"/*.1*; do
        warnings=$(man --warnings --local-file --encoding ascii "$page" 2>&1 >"$work/page")
        text=$(col -b <"$work/page")
        [[ -z $warnings ]] || fail "${page##*/}: $warnings"
        [[ $text == *NAME* && $text == *SYNOPSIS* ]] || fail "${page##*/} has no name or no synopsis"
    done
}

# Checks that bash completes a word, with what a file of completions defines.
check_bash() { # FILE PROGRAM WORD COMPLETION
    local found
    # shellcheck disable=SC2016 # expanded by the inner bash
    found=$(bash --norc -euc '
        source "$1"
        complete -p "$2" >/dev/null
        COMP_WORDS=("$2" "$3") COMP_CWORD=1 COMP_LINE="$2 $3" COMP_POINT=${#COMP_LINE}
        function=$(complete -p "$2" | sed "s/.*-F \([^ ]*\).*/\1/")
        "$function" "$2" "$3" "$2"
        printf "%s\n" "${COMPREPLY[@]}"' complete "$1" "$2" "$3") || fail "$1 cannot be loaded"
    [[ $'\n'$found$'\n' == *$'\n'"$4"$'\n'* ]] || fail "$1 does not complete $3 to $4: $found"
}

check_licences() { # FILE
    grep -q '^    rustls ' "$1" || fail "the licences do not list rustls"
    grep -q '^==== clap ' "$1" || fail "the licences have no text of clap's"
    ! grep -q clap_mangen "$1" || fail "what writes man pages is in kettle"
}

check_tarball() {
    local directory=$work/tarball/kettle-$version-x86_64-linux
    mkdir "$work/tarball"
    tar -xzf "$out/kettle-$version-x86_64-linux.tar.gz" -C "$work/tarball"
    check_program "$directory/kettle" kettle
    check_pages "$directory/man/man1" kettle.1 kettle-build.1 kettle-verify.1
    check_bash "$directory/completions/bash/kettle.bash" kettle verif verify-summary
    grep -q '_kettle' "$directory/completions/zsh/_kettle" || fail "no completions for zsh"
    grep -q 'complete -c kettle' "$directory/completions/fish/kettle.fish" || fail "no completions for fish"
    [[ -n $quick ]] || check_licences "$directory/LICENSES"
    cmp "$directory/LICENSE-MIT" "$ROOT/LICENSE-MIT"
    passed "the tarball"
}

check_packages() {
    local name file directory description
    for name in kettle kettle-host; do
        file=$out/${name}_${version}_amd64.deb directory=$work/packages/$name
        mkdir -p "$directory"
        dpkg-deb -x "$file" "$directory"
        dpkg-deb -e "$file" "$directory/DEBIAN"
        check_program "$directory/usr/bin/$name" "$name"
        check_pages "$directory/usr/share/man/man1" "$name.1.gz"
        check_bash "$directory/usr/share/bash-completion/completions/$name" "$name" -- --version
        (cd "$directory" && md5sum --quiet --check DEBIAN/md5sums) || fail "$name: md5sums"
        description=$(dpkg-deb --contents "$file")
        ! grep -v ' root/root ' <<<"$description" || fail "$file has files of another owner"
        [[ $(dpkg-deb -f "$file" Version) == "$version" ]] || fail "$file: version"
    done
    cmp "$work/packages/kettle/usr/bin/kettle" "$work/tarball/kettle-$version-x86_64-linux/kettle"
    install_packages
    passed "the packages"
}

# Installs both packages into a directory, with dpkg's own order and scripts, and removes them.
install_packages() {
    local root=$work/installed
    if ((EUID != 0)); then
        say "not root: packages are unpacked, and not installed"
        return
    fi
    mkdir -p "$root/var/lib/dpkg"/{info,updates} "$root/usr"
    : >"$root/var/lib/dpkg/status"
    local dpkg=(dpkg --root="$root" --force-depends --force-script-chrootless --log="$work/dpkg.log")
    "${dpkg[@]}" --install "$out"/*.deb >"$work/dpkg.out" 2>&1 || fail "dpkg --install: $(tail -n 5 "$work/dpkg.out")"
    [[ -x $root/usr/bin/kettle && -e $root/usr/lib/systemd/system/kettle-host.service ]] || fail "dpkg installed something else"
    "${dpkg[@]}" --purge kettle kettle-host >>"$work/dpkg.out" 2>&1 || fail "dpkg --purge: $(tail -n 5 "$work/dpkg.out")"
    [[ ! -e $root/usr/bin/kettle && ! -e $root/etc/default/kettle-host ]] || fail "dpkg left files"
}

# Checks the unit where systemd's own tool is installed: it knows every word, and the exposure is
# that of a service which makes sandboxes.
check_unit() {
    local unit=$work/packages/kettle-host/usr/lib/systemd/system/kettle-host.service exposure
    command -v systemd-analyze >/dev/null || {
        say "not run: systemd-analyze is not installed"
        return
    }
    sed "s|/usr/bin/kettle-host|$work/packages/kettle-host&|" "$unit" >"$work/kettle-host.service"
    systemd-analyze verify --man=no "$work/kettle-host.service" >"$work/unit" 2>&1 || fail "systemd-analyze verify: $(<"$work/unit")"
    ! grep -q kettle-host "$work/unit" || fail "systemd-analyze verify: $(<"$work/unit")"
    exposure=$(systemd-analyze security --offline=yes --no-pager "$work/kettle-host.service" 2>&1 | tail -n 1)
    say "$exposure"
    systemd-analyze security --offline=yes --threshold="$MAX_EXPOSURE" "$work/kettle-host.service" >/dev/null 2>&1 ||
        fail "the unit is more exposed than $MAX_EXPOSURE of 100: $exposure"
    passed "the unit"
}

# Unpacks the image, and lets `run` find a changed file. A kettle that only says that it was started
# takes the place of the real one.
check_image() {
    local directory=$work/image/kettle-image-$version name
    mkdir "$work/image"
    tar -xf "$out/kettle-image-$version-x86_64.tar" -C "$work/image"
    for name in firmware.fd kernel initrd cmdline root.img measurements.json image.cdx.json; do
        cmp "$directory/$name" "$image/$name" || fail "$name is not the image's"
    done
    cmp "$directory/kettle" "$work/tarball/kettle-$version-x86_64-linux/kettle"
    check_disk "$directory"
    printf '#!/bin/sh\necho "started: $*"\n' >"$directory/kettle"
    [[ $("$directory/run" a --json) == "started: build a --json --launch qemu --image $directory" ]] || fail "run does not start kettle"
    for name in cmdline initrd kernel firmware.fd; do
        printf x >>"$directory/$name"
        if "$directory/run" a >"$work/said" 2>&1; then fail "run boots a changed $name"; fi
        grep -q "$name has the SHA-256" "$work/said" || fail "run does not name $name: $(<"$work/said")"
        cp "$image/$name" "$directory/$name"
    done
    passed "the image's own check"
    check_run_refuses "$directory"
}

# Makes the published disk of the unpacked image with this machine's programs, and none of a changed
# one.
check_disk() { # DIRECTORY
    "$ROOT/scripts/cloud-image" --format raw --image "$1" --out "$work/disk.raw" || fail "scripts/cloud-image of a release"
    rm "$work/disk.raw"
    printf x | dd of="$1/azure.efi" bs=1 seek=100000 conv=notrunc status=none
    if "$ROOT/scripts/cloud-image" --format vhd --image "$1" --out "$work/disk.vhd" 2>"$work/said"; then
        fail "a disk of a changed azure.efi"
    fi
    grep -q "are not those of" "$work/said" || fail "scripts/cloud-image says something else: $(<"$work/said")"
    cp "$image/azure.efi" "$1/azure.efi"
    passed "the disk of the image"
}

# Lets scripts/run find that an archive is not the image of its reference values.
check_run_refuses() { # DIRECTORY
    local values=$image/measurements.json archive=$work/changed.tar
    run_refuses() { # TEXT OPTION…
        local text=$1
        shift
        if "$ROOT/scripts/run" --out "$work/no-out" "$@" >"$work/said" 2>&1; then fail "scripts/run $* ends with success"; fi
        grep -qF -- "$text" "$work/said" || fail "scripts/run does not say '$text': $(<"$work/said")"
    }
    printf x >>"$1/initrd"
    tar -cf "$archive" -C "${1%/*}" "${1##*/}"
    cp "$image/initrd" "$1/initrd"
    run_refuses "initrd has the SHA-256" --image "$archive" --measurements "$values"
    run_refuses "is no image of a release" --image "$out/SHA256SUMS"
    jq '.withdrawn = "a test"' "$values" >"$work/withdrawn.json"
    run_refuses "this image is withdrawn" --image "$archive" --measurements "$work/withdrawn.json"
    jq '.version = "0.0.0"' "$values" >"$1/measurements.json"
    tar -cf "$archive" -C "${1%/*}" "${1##*/}"
    run_refuses "measurements/0.0.0.json is missing" --image "$archive"
    rm -f "$archive"
    passed "scripts/run refuses other images"
}

check_sums() {
    local names
    (cd "$out" && sha256sum --quiet --check SHA256SUMS) || fail "SHA256SUMS"
    names=$(cd "$out" && printf '%s\n' *.tar *x86_64-linux.tar.gz *.deb | LC_ALL=C sort)
    [[ $(awk '{ print $2 }' "$out/SHA256SUMS" | LC_ALL=C sort) == "$names" ]] || fail "SHA256SUMS does not name each file"
    passed "the checksums"
}

# Makes the release again: other path, umask, time zone, language, number of jobs, and nothing
# compiled before.
compare_with_second() {
    (
        umask 027
        export TZ=Asia/Kathmandu LC_ALL=C.UTF-8 LANG=C.UTF-8 SOURCE_DATE_EPOCH
        SOURCE_DATE_EPOCH=$(git -C "$ROOT" log -1 --format=%ct)
        mkdir -p "$work/cache"
        cp -al -- "$cache/crates" "$work/cache/crates" 2>/dev/null || cp -r -- "$cache/crates" "$work/cache/crates"
        make_release "$work/cache" "$work/second" --jobs 1
    ) || exit
    diff -r --exclude '*.bundle.tar.gz' "$out" "$work/second" || fail "two releases of one tree differ"
    passed "the same bytes twice"
}

boot_image() {
    "$ROOT/scripts/run" \
        --image "$out/kettle-image-$version-x86_64.tar" \
        --measurements "$image/measurements.json" \
        --memory 2048 \
        --vcpus 2 \
        --out "$work/built" || fail "scripts/run --image"
    [[ $("$work/built/hello/artifacts/hello") == *ello* ]] || fail "what the image built does not run"
    passed "scripts/run --image"
}

# The exposure that `systemd-analyze security` may compute at most, times ten. A service that makes
# sandboxes needs namespaces, mounts and users.
readonly MAX_EXPOSURE=60

# Makes a directory of programs for scripts/release, without compiling them as a release would.
quick_programs() { # DIRECTORY
    local host docs
    mkdir -p "$1/licences"
    cp "$image/kettle" "$1/kettle"
    host=$(build_binary kettle-host host)
    cp "$host" "$1/kettle-host"
    docs=$(build_binary kettle-docs cli-docs)
    "$docs" "$1/docs"
    echo 'not made for this test' | tee "$1/licences/kettle" >"$1/licences/kettle-host"
}

work=$(mktemp -d "${TMPDIR:-/tmp}/kettle-release.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
out=$work/release
if [[ -n $quick ]]; then
    quick_programs "$work/programs"
    options+=(--programs "$work/programs")
fi
make_release "$cache" "$out" "${options[@]}"
check_sums
check_tarball
check_packages
check_unit
check_image
[[ -z $twice ]] || compare_with_second
[[ -z $boot ]] || boot_image
[[ -z $service ]] || "$ROOT/tests/service.sh" "$out" "$image" "$cache"
