# shellcheck shell=bash disable=SC2034,SC2153,SC2154
# Builds the kernel from the locked source package, image/kernel/config and image/kernel/patches. Objects are kept in a
# directory, so that a changed line or patch compiles only the files that depend on it; the resulting bytes are those of
# a build without them. Sourced by build-image, after lib.sh and root.sh.

readonly KERNEL=$IMAGE/kernel
# The builder, time and number of the build that are compiled into the kernel, the same everywhere.
readonly KERNEL_MAKE=(
    KBUILD_BUILD_USER=kettle
    KBUILD_BUILD_HOST=kettle
    KBUILD_BUILD_VERSION=1
    KBUILD_BUILD_TIMESTAMP='Thu Jan 1 00:00:00 UTC 1970'
    ARCH=x86_64
)
# The parts of the source that x86 does not need, three quarters of its bytes. Descriptions of drivers (Kconfig,
# Makefile) stay, because all of them are read.
readonly KERNEL_UNUSED=(
    '*/Documentation/*/*'
    '*/arch/[!x]*/*.[chS]'
    '*/arch/*.dts*'
    '*/drivers/gpu/*.[chS]'
    '*/drivers/media/*.[ch]'
    '*/drivers/staging/*.[ch]'
    '*/drivers/net/ethernet/[!amg]*.[ch]'
    '*/drivers/net/wireless/*.[ch]'
    '*/drivers/infiniband/*.[ch]'
    '*/sound/*.[ch]'
    '*/tools/perf/*'
    '*/tools/testing/*'
)

# Prints the line of the lock with the kernel's source.
kernel_source() {
    entries "$LOCK" | awk '$1 == "source" && $3 ~ /^linux-source-/'
}

# Prints the packages of the build root, which compile the kernel.
kernel_toolchain() {
    entries "$LOCK" | awk '$1 == "image" || $1 == "tool"'
}

# Prints a key that changes with every input of the kernel.
kernel_key() {
    { root_key && files_key image/kernel scripts/image/kernel.sh; } | digest | cut -c 1-16
}

# Makes OUT/kernel, OUT/kernel.config, and OUT/kernel-test, which differs by image/kernel/test.config and is for tests
# only.
make_kernel() { # BUILD-ROOT PACKAGES SCRATCH OUT
    say "making the kernel"
    mkdir -p -- "$3" "$4"
    recover_objects "$3"
    unpack_kernel "$2" "$3"
    patch_kernel "$1" "$3"
    build_kernel "$1" "$3" "$KERNEL/config"
    install -m 0644 "$3/objects/arch/x86/boot/bzImage" "$4/kernel"
    install -m 0644 "$3/objects/.config" "$4/kernel.config"
    # Objects that both kernels share are compiled once. The second kernel is built in the same directory, because
    # objects depend on paths, and the first one's objects are put aside meanwhile.
    cp -a --reflink=auto -- "$3/objects" "$3/objects.copy"
    mv -- "$3/objects.copy" "$3/objects.aside"
    build_kernel "$1" "$3" "$KERNEL/config" "$KERNEL/test.config"
    install -m 0644 "$3/objects/arch/x86/boot/bzImage" "$4/kernel-test"
    recover_objects "$3"
}

# Puts the objects of the first kernel back, after the second one, or after a build that was interrupted.
recover_objects() { # SCRATCH
    rm -rf -- "$1/objects.copy"
    [[ -e $1/objects.aside ]] || return 0
    rm -rf -- "$1/objects"
    mv -- "$1/objects.aside" "$1/objects"
}

# Unpacks the locked package to SCRATCH/source, and begins from nothing if the package or the compiler has changed.
unpack_kernel() { # PACKAGES SCRATCH
    local made_of package
    made_of=$({ kernel_source && kernel_toolchain && printf '%s\n' "${KERNEL_UNUSED[@]}"; } | digest)
    [[ ! -e $2/made-of || $(<"$2/made-of") != "$made_of" ]] || return 0
    rm -rf -- "$2"/{made-of,source,original,objects}
    mkdir -- "$2/source"
    package=$1/$(kernel_source | awk '{ print $7 }').deb
    ar p "$package" data.tar.xz |
        xz -dc |
        tar -x --to-stdout --wildcards './usr/src/linux-source-*.tar.xz' |
        xz -dc --threads "$jobs" |
        tar -x -C "$2/source" --strip-components 1 --no-same-owner --wildcards-match-slash "${KERNEL_UNUSED[@]/#/--exclude=}"
    echo "$made_of" >"$2/made-of"
}

# Prints the files that patches change, a line each.
patched_files() {
    sed -n 's|^+++ b/\([^[:space:]]*\).*|\1|p' "$KERNEL"/patches/*.patch | LC_ALL=C sort -u
}

# Brings SCRATCH/source to a state with exactly these patches. Only files that have to change are written, and get a new
# time. SCRATCH/original has the files as they were before any patch.
patch_kernel() { # BUILD-ROOT SCRATCH
    local file patch
    rm -rf -- "$2"/patch{ed,es}
    mkdir -p -- "$2/patched" "$2/original"
    cp -r --no-preserve=all -- "$KERNEL/patches" "$2"
    while read -r file; do
        [[ -e $2/source/$file ]] || die "$EXIT_FAILED" "image/kernel/patches: the kernel has no file $file"
        [[ -e $2/original/$file ]] || (cd "$2/source" && cp -p --parents -- "$file" ../original)
    done < <(patched_files)
    cp -r -- "$2/original/." "$2/patched"
    for patch in "$2"/patches/*.patch; do
        enter "$1" "$2" /usr/bin/patch \
            --quiet \
            --strip 1 \
            --fuzz 0 \
            --no-backup-if-mismatch \
            --directory /build/patched \
            --input "/build/patches/${patch##*/}" >&2 ||
            die "$EXIT_FAILED" "image/kernel/patches/${patch##*/} does not apply to $(kernel_source | awk '{ print $3, $4 }')"
    done
    while read -r file; do
        cmp --quiet -- "$2/patched/$file" "$2/source/$file" || cp -- "$2/patched/$file" "$2/source/$file"
    done < <(cd "$2/original" && find . -type f)
}

# Configures and builds SCRATCH/objects. If two files have a line for the same symbol, that of the later file counts.
build_kernel() { # BUILD-ROOT SCRATCH CONFIG…
    local file log=$2/log
    mkdir -p -- "$2/objects"
    for file in "${@:3}"; do entries "$file"; done | tac | awk -F = '!seen[$1]++' | tac >"$2/wanted"
    run_kernel_make "$1" "$2" KCONFIG_ALLCONFIG=/build/wanted allnoconfig >"$log" ||
        die "$EXIT_FAILED" "the kernel's configuration cannot be made: $log"
    check_wanted "$2/wanted" "$2/objects/.config" "$2/source"
    run_kernel_make "$1" "$2" --jobs "$jobs" bzImage >>"$log" || die "$EXIT_FAILED" "the kernel does not compile: $log"
}

run_kernel_make() { # BUILD-ROOT SCRATCH ARGUMENT…
    enter "$1" "$2" /usr/bin/make -C /build/source O=/build/objects "${KERNEL_MAKE[@]}" "${@:3}"
}

# Fails if the configuration differs from a wanted line, and names all such lines.
check_wanted() { # WANTED RESOLVED SOURCE
    local line symbol missed=()
    # A symbol that is off, and one that is mistyped, look the same in a configuration.
    find "$3" -name 'Kconfig*' -exec sed -n 's/^[[:space:]]*\(menu\)\?config[[:space:]]\+\([A-Z0-9_a-z]\+\).*/CONFIG_\2/p' {} + |
        LC_ALL=C sort -u >"$1.symbols"
    while read -r line; do
        symbol=${line%%=*}
        if ! grep -qxF -- "$symbol" "$1.symbols"; then
            missed+=("$symbol, which this kernel does not know")
        elif [[ ${line#*=} == n ]]; then
            ! grep -q "^$symbol=" "$2" || missed+=("$line, and it is $(grep "^$symbol=" "$2")")
        elif ! grep -qxF -- "$line" "$2"; then
            missed+=("$line, and it is $(grep -E "^(# )?${symbol}[= ]" "$2" || echo missing)")
        fi
    done <"$1"
    ((${#missed[@]} == 0)) || {
        say "image/kernel: these lines did not take:"
        printf '  %s\n' "${missed[@]}" >&2
        exit "$EXIT_FAILED"
    }
}
