# shellcheck shell=bash disable=SC2153,SC2154
# Lays out the Debian packages of a release, from files/. Sourced by scripts/release, after
# pack.sh.

# Prints a changelog as Debian's tools read it. What changed is in CHANGELOG.md.
debian_changelog() { # PACKAGE
    printf '%s (%s) unstable; urgency=medium\n\n  * Release %s: see CHANGELOG.md of the source.\n\n -- %s  %s\n' \
        "$1" "$version" "$version" "$(sed -n 's/^Maintainer: //p' "$ROOT/scripts/dist/files/$1.control")" \
        "$(LC_ALL=C date --utc --date "@$SOURCE_DATE_EPOCH" -R)"
}

# Prints the licences in the form of Debian's copyright files.
debian_copyright() { # PROGRAM PROGRAMS
    local licence
    cat <<'TEXT'
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Comment: The licences of what is linked into the program are in the file LICENSES.gz beside this one.

Files: *
Copyright: 2026 the authors of kettle
License: Apache-2.0 or Expat

License: Apache-2.0
 On Debian systems, the text of this licence is in /usr/share/common-licenses/Apache-2.0.

License: Expat
TEXT
    while read -r licence; do printf ' %s\n' "${licence:-.}"; done <"$ROOT/LICENSE-MIT"
}

# Lays out the files that both packages have.
stage_package() { # PACKAGE PROGRAMS STAGE
    local name=$1 directory=$3/packages/$1
    local share=$directory/usr/share
    mkdir -p -- "$directory/DEBIAN" "$directory/usr/bin" "$share/man/man1" "$share/doc/$name" \
        "$share/bash-completion/completions" "$share/zsh/vendor-completions" "$share/fish/vendor_completions.d"
    sed "s/@VERSION@/$version/" "$ROOT/scripts/dist/files/$name.control" >"$directory/DEBIAN/control"
    install -m 0755 -- "$2/$name" "$directory/usr/bin"
    install -m 0644 -- "$2/docs/$name/bash/$name.bash" "$share/bash-completion/completions/$name"
    install -m 0644 -- "$2/docs/$name/zsh/_$name" "$share/zsh/vendor-completions"
    install -m 0644 -- "$2/docs/$name/fish/$name.fish" "$share/fish/vendor_completions.d"
    debian_copyright "$name" "$2" >"$share/doc/$name/copyright"
    debian_changelog "$name" >"$share/doc/$name/changelog"
    install -m 0644 -- "$2/licences/$name" "$share/doc/$name/LICENSES"
    mkdir -p -- "$share/lintian/overrides"
    # Static and position independent: lintian takes it for a library.
    echo "$name: shared-library-lacks-prerequisites [usr/bin/$name]" >"$share/lintian/overrides/$name"
}

stage_packages() { # PROGRAMS STAGE
    local directory=$2/packages
    stage_package kettle "$1" "$2"
    install -m 0644 -- "$1"/docs/kettle/man/*.1 "$directory/kettle/usr/share/man/man1"
    stage_package kettle-host "$1" "$2"
    install -m 0644 -- "$1"/docs/kettle-host/man/*.1 "$directory/kettle-host/usr/share/man/man1"
    mkdir -p -- "$directory/kettle-host"/{usr/lib/systemd/system,etc/default}
    install -m 0644 -- "$ROOT/scripts/dist/files/kettle-host.service" "$directory/kettle-host/usr/lib/systemd/system"
    install -m 0644 -- "$ROOT/scripts/dist/files/kettle-host.default" "$directory/kettle-host/etc/default/kettle-host"
    echo /etc/default/kettle-host >"$directory/kettle-host/DEBIAN/conffiles"
    chmod 0644 "$directory/kettle-host/DEBIAN/conffiles"
    install -m 0755 -- "$ROOT"/scripts/dist/files/kettle-host.{postinst,prerm,postrm} "$directory/kettle-host/DEBIAN"
    rename_scripts "$directory/kettle-host/DEBIAN"
}

# dpkg knows the scripts of a package by their bare names.
rename_scripts() { # DIRECTORY
    local script
    for script in postinst prerm postrm; do mv -- "$1/kettle-host.$script" "$1/$script"; done
}
