# shellcheck shell=bash disable=SC2153,SC2154
# The licences of what is linked into the programs of a release. Sourced by scripts/release, after
# compile.sh.

# Prints the crates that are linked into a program, one a line: name, version, licence.
linked_crates() { # IMAGE-ROOT SCRATCH FEATURE
    in_image "$1" "$2" /usr/bin/cargo tree \
        --quiet \
        --locked \
        --offline \
        --manifest-path /kettle/source/Cargo.toml \
        --no-default-features \
        --features "$3" \
        --target "$TARGET" \
        --edges normal,no-proc-macro \
        --prefix none \
        --format '{p}|{l}' |
        sed -n 's/ (\*)$//; s/^\([^ ]*\) v\([^ |]*\)\( ([^)]*)\)*|\(.*\)$/\1 \2 \4/p' |
        grep -v '^kettle ' | LC_ALL=C sort -u
}

# Prints the version of a package of the image.
image_package() { # NAME
    entries "$LOCK" | awk -v name="$1" '$1 == "image" && $3 == name { print $4 }'
}

# Prints the texts of licences of crates, each text once, after the names of the files that have it.
licence_texts() { # SCRATCH CRATES
    local name version file sum
    local -A names=() texts=()
    local order=()
    while read -r name version _; do
        for file in "$1/vendor/crates-io/$name-$version"/{LICEN[SC]E,COPYING,COPYRIGHT,NOTICE,UNLICENSE}*; do
            [[ -f $file ]] || continue
            sum=$(tr -d '\r' <"$file" | digest)
            [[ -n ${texts[$sum]-} ]] || order+=("$sum")
            texts[$sum]=$file
            names[$sum]+="==== $name $version, ${file##*/}"$'\n'
        done
    done <<<"$2"
    for sum in "${order[@]}"; do
        printf '\n\n%s\n' "${names[$sum]}"
        tr -d '\r' <"${texts[$sum]}"
    done
}

# Prints the licences of a program: a list, then the texts.
licences_of() { # IMAGE-ROOT SCRATCH PROGRAM FEATURE
    local crates name version licence
    crates=$(linked_crates "$1" "$2" "$4")
    [[ -n $crates ]] || die "$EXIT_FAILED" "no crate is linked into $3"
    cat <<TEXT
$3 itself is under Apache-2.0 or MIT, at your option. Linked into it are:

- Rust's standard library of Debian's rustc-web $(image_package rustc-web): MIT or Apache-2.0
- the GNU C library of Debian's libc6-dev $(image_package libc6-dev): LGPL-2.1-or-later. To link
  another one, change the compiler's root and run scripts/release of the source of this release.
- these crates:

TEXT
    while read -r name version licence; do printf '    %s %s: %s\n' "$name" "$version" "$licence"; done <<<"$crates"
    licence_texts "$2" "$crates"
}

# Makes PROGRAMS/licences/kettle and kettle-host.
licences() { # IMAGE-ROOT SCRATCH PROGRAMS
    mkdir -p -- "$3/licences"
    licences_of "$1" "$2" kettle cli >"$3/licences/kettle"
    licences_of "$1" "$2" kettle-host host >"$3/licences/kettle-host"
}
