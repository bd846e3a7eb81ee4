# shellcheck shell=bash disable=SC2034,SC2154
# Layers: expensive parts, kept outside the checkout by the digest of their inputs. Sourced by
# build-image.

# How many layers of one name are kept, the newest first.
readonly KEPT_LAYERS=3

# The directory that keeps layers unless --cache names another one.
readonly DEFAULT_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/kettle-image

# Runs a step outside of any condition, and says how long it took.
phase() { # FUNCTION ARGUMENT…
    local start=$SECONDS
    "$@"
    ((SECONDS - start < 2)) || say "  $1: $((SECONDS - start)) s"
}

# Locks the cache: only one build at a time uses it.
lock_cache() { # CACHE
    exec {CACHE_LOCK}>"$1/lock"
    flock --nonblock "$CACHE_LOCK" || {
        say "waiting for another build that uses $1"
        flock "$CACHE_LOCK"
    }
}

# Makes a directory of the cache, which FUNCTION gets as its last argument and fills. It is made
# once for each KEY. An existing one is used if the files at its top still have their digests;
# directories in it, such as an unpacked root, are not checked. Sets LAYER.
layer() { # NAME KEY FUNCTION ARGUMENT…
    local name=$1 key=$2 new=$cache/$1.new
    shift 2
    LAYER=$cache/$name-$key
    if is_whole "$LAYER"; then
        touch -- "$LAYER"
        return
    fi
    rm -rf -- "$LAYER" "$new"
    mkdir -p -- "$new"
    phase "$@" "$new"
    (cd "$new" && find . -maxdepth 1 -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum >"$cache/$name.made")
    mv -- "$cache/$name.made" "$new/made"
    mv -- "$new" "$LAYER"
    drop_old_layers "$name"
}

is_whole() { # LAYER
    [[ -e $1/made ]] || return 1
    (cd "$1" && sha256sum --quiet --check made >&2) && return
    say "$1 is damaged: it is made again"
    return 1
}

drop_old_layers() { # NAME
    local old
    mapfile -t old < <(find "$cache" -maxdepth 1 -name "$1-*" -printf '%T@ %p\n' | sort -rn |
        tail -n "+$((KEPT_LAYERS + 1))" | cut -d ' ' -f 2-)
    ((${#old[@]} == 0)) || rm -rf -- "${old[@]}"
}

# Prints the digest of files of this repository, by name and content; a directory stands for all
# files in it except documents.
files_key() { # PATH…
    (cd "$ROOT" && find "$@" -type f ! -name '*.md' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | digest)
}
