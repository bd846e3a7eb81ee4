# shellcheck shell=bash disable=SC2153,SC2154
# Lays out the archives of a release, and packs everything with the tools that the image is made
# with: another version of tar, gzip or dpkg may write other bytes. Sourced by scripts/release.

# The files of an image that boot, and what says what they are. `kettle` and `run` are added.
readonly IMAGE_FILES=(firmware.fd kernel initrd cmdline root.img disk.efi azure.efi measurements.json image.cdx.json)

# Lays out the image for download. root.img is linked and not copied.
stage_image() { # IMAGE PROGRAMS STAGE
    local directory=$3/kettle-image-$version name
    mkdir -p -- "$directory"
    for name in "${IMAGE_FILES[@]}"; do
        if [[ $name == root.img ]]; then
            ln -- "$1/$name" "$directory/$name" 2>/dev/null || cp --reflink=auto -- "$1/$name" "$directory/$name"
        else
            install -m 0644 -- "$1/$name" "$directory/$name"
        fi
    done
    install -m 0755 -- "$2/kettle" "$ROOT/scripts/dist/files/run" "$directory"
    install -m 0644 -- "$ROOT"/LICENSE-{APACHE,MIT} "$directory"
    install -m 0644 -- "$2/licences/kettle" "$directory/LICENSES-OF-KETTLE"
}

# Lays out the tarball of kettle.
stage_tarball() { # PROGRAMS STAGE
    local directory=$2/kettle-$version-x86_64-linux
    mkdir -p -- "$directory"/{man/man1,completions/{bash,zsh,fish}}
    install -m 0755 -- "$1/kettle" "$directory"
    install -m 0644 -- "$1"/docs/kettle/man/*.1 "$directory/man/man1"
    install -m 0644 -- "$1/docs/kettle/bash/kettle.bash" "$directory/completions/bash"
    install -m 0644 -- "$1/docs/kettle/zsh/_kettle" "$directory/completions/zsh"
    install -m 0644 -- "$1/docs/kettle/fish/kettle.fish" "$directory/completions/fish"
    install -m 0644 -- "$ROOT"/LICENSE-{APACHE,MIT} "$directory"
    install -m 0644 -- "$1/licences/kettle" "$directory/LICENSES"
}

# Packs everything below STAGE into OUT.
pack() { # BUILD-ROOT STAGE OUT
    local work=${2%/*}
    say "packing"
    rm -rf -- "$work/packed"
    mkdir -p -- "$work/packed"
    # shellcheck disable=SC2016 # expanded in the root
    enter "$1" "$work" /usr/bin/bash-static -euc '
        version=$1
        cd /build/stage
        archive() { # DIRECTORY
            tar --create --format ustar --sort name --mtime "@$SOURCE_DATE_EPOCH" --owner 0 --group 0 --numeric-owner \
                --mode u+rw,go+r,go-w -- "$1"
        }
        # What is in it is compressed already.
        archive "kettle-image-$version" >"/build/packed/kettle-image-$version-x86_64.tar"
        archive "kettle-$version-x86_64-linux" | gzip -9n >"/build/packed/kettle-$version-x86_64-linux.tar.gz"
        for directory in packages/*; do
            find "$directory/usr/share/man" "$directory/usr/share/doc" -type f ! -name copyright -exec gzip -9n {} +
            (cd "$directory" && find usr -type f | sort | xargs md5sum >DEBIAN/md5sums)
            installed=$(du --apparent-size --block-size 1024 --summarize --exclude DEBIAN "$directory" | cut -f 1)
            echo "Installed-Size: $installed" >>"$directory/DEBIAN/control"
            chmod 0644 "$directory/DEBIAN/"{control,md5sums}
            find "$directory" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
            dpkg-deb --root-owner-group --threads-max=1 -Zxz --build "$directory" "/build/packed/${directory#*/}_${version}_amd64.deb" >/dev/null
        done' pack "$version"
    mv -t "$3" -- "$work"/packed/*
}

# Writes the SHA-256 of every file, as sha256sum checks it.
checksums() { # OUT
    local sums
    sums=$(cd "$1" && sha256sum -- *)
    printf '%s\n' "$sums" >"$1/SHA256SUMS"
    cat -- "$1/SHA256SUMS" >&2
}
