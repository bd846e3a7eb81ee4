# shellcheck shell=bash
# Changes names of symbol versions in programs, as image/symbols lists them, so that a program of the next release uses
# a library of stable. Only a name and its hash change, in place (ELF specification, GNU extensions for symbol
# versions). Sourced by build-image.

# Prints the hash of a name in a table of versions, which is that of System V's hash tables.
symbol_hash() { # NAME
    local hash=0 high index code
    for ((index = 0; index < ${#1}; index++)); do
        printf -v code '%d' "'${1:index:1}"
        hash=$(((hash << 4) + code & 0xffffffff))
        high=$((hash & 0xf0000000))
        hash=$(((hash ^ high >> 24) & ~high))
    done
    printf '%s\n' "$hash"
}

# Prints the offset in bytes of a text that occurs once in a file.
place_of() { # FILE TEXT
    local places
    mapfile -t places < <(LC_ALL=C grep -abo -F -- "$2" "$1" | cut -d : -f 1)
    ((${#places[@]} == 1)) || die "$EXIT_FAILED" "$1 has $2 ${#places[@]} times, not once"
    printf '%s\n' "${places[0]}"
}

overwrite() { # FILE PLACE; the bytes come from standard input
    dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# Prints the offset of the entry that requires a version of a library, from the start of the table of needed versions.
needed_version() { # FILE LIBRARY VERSION
    LC_ALL=C readelf -VW "$1" | awk -v library="$2" -v version="$3" '
        /^Version needs/ { table = 1 }
        table && / File: / { right = index($0, " File: " library " ") }
        table && right && !found && index($0, " Name: " version " ") { found = 1; sub(/:.*/, ""); print $1 }'
}

# Prints the names of the symbols with this version in a file, defined or not.
symbols_of() { # FILE VERSION
    LC_ALL=C readelf --dyn-syms -W "$1" | sed -n "s/.* \\([^ @]*\\)@@*$2\\( .*\\)*$/\\1/p" | LC_ALL=C sort -u
}

rename_version() { # FILE LIBRARY OLD NEW
    local file=$1 old=$3 new=$4 name table entry hash
    ((${#old} == ${#new})) || die "$EXIT_FAILED" "image/symbols: $old and $new are not of the same length"
    name=$(place_of "$file" "$old")
    entry=$(needed_version "$file" "$2" "$old")
    table=$(LC_ALL=C readelf -SW "$file" | sed -n 's/.* \.gnu\.version_r  *VERNEED  *[0-9a-f]*  *\([0-9a-f]*\) .*/\1/p')
    [[ -n $entry && -n $table ]] || die "$EXIT_FAILED" "image/symbols: $file does not ask for $old of $2"
    hash=$(printf '%08x' "$(symbol_hash "$new")")
    printf '%s' "$new" | overwrite "$file" "$name"
    # The bytes are in little-endian order.
    printf '%b' "\\x${hash:6:2}\\x${hash:4:2}\\x${hash:2:2}\\x${hash:0:2}" | overwrite "$file" "$((16#$table + entry))"
    [[ -n $(needed_version "$file" "$2" "$new") ]] || die "$EXIT_FAILED" "image/symbols: $file does not ask for $new afterwards"
}

rename_versions() { # ROOT
    local file library old new missing _
    while read -r file library old new _; do
        rename_version "$1/$file" "$library" "$old" "$new"
        missing=$(comm -23 <(symbols_of "$1/$file" "$new") <(symbols_of "$1/usr/lib/x86_64-linux-gnu/$library" "$new"))
        [[ -z $missing ]] || die "$EXIT_FAILED" "$file asks $library for what it lacks: ${missing//$'\n'/, }"
    done < <(entries "$IMAGE/symbols")
}
