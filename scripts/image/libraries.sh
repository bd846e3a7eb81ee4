# shellcheck shell=bash
# Checks an unpacked root: it has every library that one of its programs or libraries requires, with every required
# version of symbols. Packages of several suites are in one root, and nothing runs their maintainers' checks. Sourced by
# build-image.

# The directories in which the dynamic loader looks (ld.so(8)), besides those that a file names itself.
readonly LIBRARY_DIRECTORIES=usr/lib/x86_64-linux-gnu:usr/lib

# Prints "= NAME FILE" for each path at which a library can be found: files, and links that lead to one within the root.
library_names() { # ROOT
    local names
    mapfile -t names < <(cd "$1" && find -L usr/lib -type f -name '*.so*')
    ((${#names[@]})) || return 0
    paste -d ' ' <(printf '= %s\n' "${names[@]}") <(cd "$1" && printf '%s\0' "${names[@]}" | xargs -0 realpath --relative-to=. --)
}

# Prints one line for each library or version of symbols that is missing, and fails then.
check_libraries() { # ROOT
    local missing
    missing=$({
        library_names "$1"
        # readelf reports and skips files that are neither programs nor libraries. With two files or more it names each.
        (cd "$1" && find usr -type f \( -perm /111 -o -name '*.so*' \) -print0) |
            (cd "$1" && LC_ALL=C xargs -0 -n 500 readelf -dVW /dev/null 2>/dev/null) || true
    } | awk -v directories="$LIBRARY_DIRECTORIES" '
        # Prints an absolute path without "." and "..".
        function plain(path,    parts, count, kept, i, out) {
            count = split(path, parts, "/"); kept = 0
            for (i = 1; i <= count; i++) {
                if (parts[i] == "" || parts[i] == ".") continue
                if (parts[i] == "..") { if (kept) kept--; continue }
                stack[++kept] = parts[i]
            }
            out = stack[1]
            for (i = 2; i <= kept; i++) out = out "/" stack[i]
            return out
        }
        function directory(path) { sub("/[^/]*$", "", path); return path }
        function bracketed(line) { sub(/.*\[/, "", line); sub(/\].*/, "", line); return line }

        $1 == "=" { if ($3 ~ /^usr\//) there[$2] = $3; next }
        /^File: / { file = substr($0, 7); from = ""; files++; next }
        / \(NEEDED\) / { needed[file] = needed[file] bracketed($0) "\n"; next }
        / \((RPATH|RUNPATH)\) / { search[file] = bracketed($0); next }
        /^Version definition/ { defines = 1; next }
        /^Version needs/ { defines = 0; next }
        defines && / Name: / { provided[file, $NF]; versioned[file]; next }
        !defines && / File: / { from = $0; sub(/.* File: /, "", from); sub(/ .*/, "", from); next }
        !defines && / Name: .*Flags: / && !/WEAK/ {
            name = $0; sub(/.* Name: /, "", name); sub(/ .*/, "", name)
            wanted[++wants] = file SUBSEP from SUBSEP name
            next
        }

        # Prints the file that the loader would load for a library that a file requires, or nothing.
        function loaded(file, name,    places, total, place, i) {
            places = search[file]
            gsub(/\$ORIGIN|\$\{ORIGIN\}/, "/" directory(file), places)
            total = split(places ":" directories, place, ":")
            for (i = 1; i <= total; i++) if (place[i] != "" && plain(place[i] "/" name) in there) return there[plain(place[i] "/" name)]
            return ""
        }

        END {
            if (files < 100) { print "only " files + 0 " programs and libraries: is this a root?"; exit }
            for (file in needed) {
                count = split(needed[file], names, "\n") - 1
                for (i = 1; i <= count; i++) if (loaded(file, names[i]) == "") print file " needs " names[i]
            }
            for (i = 1; i <= wants; i++) {
                split(wanted[i], part, SUBSEP)
                library = loaded(part[1], part[2])
                # The loader accepts a library without versions for every version.
                if ((library in versioned) && !((library, part[3]) in provided)) print part[1] " needs " part[3] " of " part[2]
            }
        }' | LC_ALL=C sort)
    [[ -z $missing ]] || {
        say "libraries are missing in the root image:"
        say "$missing"
        return 1
    }
}
