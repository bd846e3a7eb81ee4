#!/usr/bin/env bash
# Unpacks archives with a program that takes one at a time. Reads pairs of archive and directory from standard input, each with a
# zero after it. Writes a line for each: 0, or 1 if it was refused.
set -uo pipefail

unpack() { # ARCHIVE DIRECTORY
    case $program in
    tar) tar -xzf "$1" -C "$2" ;;
    bsdtar) bsdtar -xzf "$1" -C "$2" ;;
    busybox) busybox tar -xzf "$1" -C "$2" ;;
    7z) 7z x -so "$1" </dev/null | 7z x -y -si -ttar -o"$2" ;;
    *) echo "unknown program: $program" >&2 && exit 2 ;;
    esac
}

readonly program=$1
while IFS= read -r -d '' archive && IFS= read -r -d '' directory; do
    if unpack "$archive" "$directory" </dev/null >/dev/null; then echo 0; else echo 1; fi
done
