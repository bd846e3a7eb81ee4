# shellcheck shell=bash disable=SC2034,SC2153,SC2154
# Makes the root image: unpacks, trims and completes packages, and writes an erofs image with its dm-verity tree.
# Sourced by build-image.

# These are fixed, so that the same content results in the same bytes. They are not secret.
readonly ROOT_UUID=6b657474-6c65-4000-8000-000000000001
readonly VERITY_UUID=6b657474-6c65-4000-8000-000000000002
readonly VERITY_SALT=0000000000000000000000000000000000000000000000006b6574746c650001
readonly BLOCK=4096
# The lists of libraries and of digests, below the root.
readonly LIBRARY_LIST=usr/share/kettle/libraries DIGEST_LIST=usr/share/kettle/digests

# The directory that becomes /etc/nix of the image.
readonly NIX_FILES=("$ROOT"/nix/{nix.conf,passwd,group})

# Prints the files in the cache of all packages that have a role in the lock.
package_files() { # CACHE ROLE
    entries "$LOCK" | awk -v cache="$1" -v role="$2" '$1 == role { print cache "/" $7 ".deb" }'
}

# Unpacks packages; no script of theirs runs. Prints "DEB PATH" for everything in them.
unpack() { # FOLDER DEB…
    local folder=$1 deb member
    shift
    for deb; do
        member=$(ar t "$deb" | grep '^data\.tar')
        ar p "$deb" "$member" | case $member in
        *.xz) xz -dc ;;
        *) die "$EXIT_FAILED" "$deb: $member is compressed in a way that this script does not know" ;;
        esac | tar -x -v -C "$folder" --keep-directory-symlink --no-same-owner --same-permissions | sed "s|^|$deb |"
    done
}

make_links() { # FOLDER
    local path target rest
    while read -r path target rest; do
        mkdir -p -- "$1/$(dirname "$path")"
        ln -sfn -- "$target" "$1/$path"
    done < <(entries "$IMAGE/links")
}

# Writes the file that update-ca-certificates would write, in a fixed order.
certificate_bundle() { # FOLDER
    mkdir -p -- "$1/etc/ssl/certs"
    find "$1/usr/share/ca-certificates" -name '*.crt' -print0 | LC_ALL=C sort -z | xargs -0 cat >"$1/etc/ssl/certs/ca-certificates.crt"
}

trim() { # FOLDER
    local pattern rest matches
    shopt -s nullglob globstar dotglob
    while read -r pattern rest; do
        # shellcheck disable=SC2206 # patterns are meant to be expanded
        matches=("$1"/$pattern)
        ((${#matches[@]})) || die "$EXIT_FAILED" "image/trim: nothing matches $pattern"
        rm -rf -- "${matches[@]}"
    done < <(entries "$IMAGE/trim")
    shopt -u nullglob globstar dotglob
    # Links are left out, because chmod would follow them.
    find "$1" ! -type l -perm /6000 -exec chmod a-s {} +
    # Everybody may read, and only root may write, whatever a package says.
    find "$1" ! -type l -exec chmod u+rw,go+r,go-w {} +
    find "$1" -type d -exec chmod 0755 {} +
}

# Writes ROOT/$LIBRARY_LIST: "NAME PACKAGE VERSION" for each file and link of a directory of libraries, by which a
# statement tells where the libraries come from that an artifact needs. Standard input is what `unpack` prints.
list_libraries() { # CACHE ROOT
    mkdir -p -- "$2/${LIBRARY_LIST%/*}"
    awk -v cache="$1" -v directories=":$LIBRARY_DIRECTORIES:" '
        NR == FNR { package[cache "/" $7 ".deb"] = $3 " " $4; next }
        {
            sub(/^\.\//, "", $2)
            if ($2 ~ /^lib\//) $2 = "usr/" $2
            name = $2
            sub(/.*\//, "", name)
            if (name ~ /\.so(\.|$)/ && index(directories, ":" substr($2, 1, length($2) - length(name) - 1) ":"))
                print name, package[$1], $2
        }' <(entries "$LOCK") - |
        while read -r name package version path; do
            [[ ! -e $2/$path ]] || printf '%s %s %s\n' "$name" "$package" "$version"
        done | LC_ALL=C sort -u >"$2/$LIBRARY_LIST"
    [[ -z $(cut -d ' ' -f 1 "$2/$LIBRARY_LIST" | uniq -d) ]] || die "$EXIT_FAILED" "two packages have the same library"
}

# Writes ROOT/$DIGEST_LIST: the digests of the files that are the toolchain (src/toolchain/measure.rs), links resolved, so
# that no machine hashes them again.
list_digests() ( # ROOT
    cd "$1" || exit
    {
        printf 'usr/bin/%s\n' rustc cargo cc as ld ar nix bash-static
        find usr/lib/x86_64-linux-gnu -maxdepth 1 -name 'librustc_driver-*' -o -name 'libLLVM*'
        find usr/libexec/gcc -name cc1 -o -name collect2
        find -L usr/lib/rustlib/x86_64-unknown-linux-gnu -type f
    } | LC_ALL=C sort -u | xargs -d '\n' sha256sum >"$DIGEST_LIST"
)

# Makes the whole root, and beside it the root that builds: the same with tools.
make_roots() { # CACHE IMAGE-ROOT BUILD-ROOT
    local files
    rm -rf -- "$2" "$3"
    mkdir -p -- "$2"
    say "unpacking packages"
    make_links "$2"
    mapfile -t files < <(package_files "$1" image)
    unpack "$2" "${files[@]}" >"$2.content"
    make_links "$2"
    certificate_bundle "$2"
    trim "$2"
    list_libraries "$1" "$2" <"$2.content"
    rm -- "$2.content"
    rename_versions "$2"
    cp -r --no-preserve=all -- "$IMAGE/files/." "$2"
    mkdir -p -- "$2/etc/nix"
    cp --no-preserve=all -- "${NIX_FILES[@]}" "$2/etc/nix"
    (cd "$2" && mapfile -t files < <(entries "$IMAGE/folders" | awk '{ print $1 }') && mkdir -p -- "${files[@]}")
    find "$2" -type d -exec chmod 0755 {} +
    find "$2/etc" -type f -exec chmod 0644 {} +
    list_digests "$2"
    chmod 0644 "$2/$DIGEST_LIST"
    cp -al -- "$2" "$3"
    mapfile -t files < <(package_files "$1" tool)
    unpack "$3" "${files[@]}" >/dev/null
}

# Makes root.img of SCRATCH/root, followed by its tree, and root.verity with the values that the command line needs.
make_root_image() { # BUILD-ROOT SCRATCH
    local size log
    say "making the root image"
    rm -f -- "$2/root.img"
    # lz4hc: a build reads hundreds of megabytes of compiler, and zstd takes several times as long to unpack them.
    enter "$1" "$2" mkfs.erofs \
        --quiet \
        -z lz4hc,level=9 \
        -C 65536 \
        -b "$BLOCK" \
        -T 0 \
        -U "$ROOT_UUID" \
        -x -1 \
        --all-root \
        /build/root.img /build/root
    size=$(stat -c %s "$2/root.img")
    ((size % BLOCK == 0)) || die "$EXIT_FAILED" "the erofs image has $size bytes, not whole blocks"
    log=$(enter "$1" "$2" veritysetup format \
        --hash sha256 \
        --data-block-size "$BLOCK" \
        --hash-block-size "$BLOCK" \
        --data-blocks "$((size / BLOCK))" \
        --hash-offset "$size" \
        --salt "$VERITY_SALT" \
        --uuid "$VERITY_UUID" \
        /build/root.img /build/root.img)
    printf '%s %s %s\n' "$(awk '/^Root hash:/ { print $3 }' <<<"$log")" "$size" "$VERITY_SALT" >"$2/root.verity"
}

# Prints one digest of the names, modes, links and contents of a directory.
tree_digest() { # FOLDER
    tar -C "$1" --create --sort name --mtime "@$EPOCH" --owner 0 --group 0 --numeric-owner . | digest
}

# Makes the whole layer: LAYER/root and LAYER/tools, LAYER/root.img, and LAYER/root.tree with the digest of the unpacked
# root.
make_root_layer() { # PACKAGES LAYER
    phase make_roots "$1" "$2/root" "$2/tools"
    phase check_libraries "$2/root"
    tree_digest "$2/root" >"$2/root.tree"
    phase make_root_image "$2/tools" "$2"
}
