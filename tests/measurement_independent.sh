#!/usr/bin/env bash
# Compares `kettle measure` with another calculator, sev-snp-measure from PyPI, on every combination below, and prints the
# time of both. Exit status: 0 agreement, 1 disagreement, 2 wrong usage, 77 not run (no such calculator here).
set -euo pipefail

readonly VERSION=0.0.13
readonly TYPES=(EPYC-v4 EPYC-Milan EPYC-Genoa EPYC-Turin)
readonly COUNTS=(1 2 5 64)
readonly FEATURES=(0x1 0x21)
readonly LINES=("" "console=ttyS0 roothash=00ff quiet")

if [[ $# -lt 1 || $# -gt 2 ]]; then
    echo "usage: ${0##*/} KETTLE [FIRMWARE]: the kettle program; an OVMF image (default: the one of the vectors)" >&2
    exit 2
fi

data=$(cd "$(dirname "$0")/data/measurement" && pwd)
kettle=$1
firmware=${2:-$data/ovmf_AmdSev_suffix.bin}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

not_run() {
    echo "NOT RUN: comparison with sev-snp-measure $VERSION: $1"
    exit 77
}

python3 -m venv "$work/venv" >"$work/log" 2>&1 || not_run "python3 has no venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "sev-snp-measure==$VERSION" >"$work/log" 2>&1 ||
    not_run "pip cannot install it: $(tail -n 1 "$work/log")"

# One line a combination: hypervisor, type, vCPUs, features, command line, measurement.
ours() {
    local line features vmm
    for vmm in qemu ec2 gce; do
        for line in "${LINES[@]}"; do
            for features in "${FEATURES[@]}"; do
                "$kettle" measure \
                    --firmware "$firmware" \
                    --kernel "$data/kernel-a.bin" \
                    --initrd "$data/initrd-a.bin" \
                    --command-line "$line" \
                    --guest-features "$features" \
                    --vmm "$vmm" \
                    "${TYPES[@]/#/--vcpu-type=}" \
                    "${COUNTS[@]/#/--vcpus=}" |
                    sed "s|^|$vmm $features [$line] |"
            done
        done
    done
}

theirs() {
    "$work/venv/bin/python" - "$firmware" "$data" "${#TYPES[@]}" "${TYPES[@]}" "${#COUNTS[@]}" "${COUNTS[@]}" \
        "${#FEATURES[@]}" "${FEATURES[@]}" "${#LINES[@]}" "${LINES[@]}" <<'PYTHON'
import sys

from sevsnpmeasure import guest, vcpu_types
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vmm_types import VMMType

firmware, data, *rest = sys.argv[1:]


def take():
    count = int(rest.pop(0))
    taken, rest[:] = rest[:count], rest[count:]
    return taken


types, counts, features, lines = take(), take(), take(), take()
for vmm in ("qemu", "ec2", "gce"):
    vmm_type = VMMType.QEMU if vmm == "qemu" else VMMType[vmm]
    for line in lines:
        for feature in features:
            for name in types:
                for count in counts:
                    digest = guest.calc_launch_digest(
                        SevMode.SEV_SNP, int(count), vcpu_types.CPU_SIGS[name], firmware, f"{data}/kernel-a.bin",
                        f"{data}/initrd-a.bin", line, int(feature, 16), vmm_type=vmm_type)
                    print(f"{vmm} {feature} [{line}] {name} {count} {digest.hex()}")
PYTHON
}

TIMEFORMAT='%R s'
ours_time=$({ time ours >"$work/ours"; } 2>&1)
theirs_time=$({ time theirs >"$work/theirs"; } 2>&1)

combinations=$(sort -u "$work/theirs" | wc -l)
if ((combinations < 24)); then
    echo "only $combinations combinations were calculated: $theirs_time" >&2
    exit 1
fi
if ! diff -u "$work/theirs" "$work/ours"; then
    echo "kettle measure and sev-snp-measure $VERSION disagree" >&2
    exit 1
fi
echo "kettle measure agrees with sev-snp-measure $VERSION on $combinations combinations: $ours_time, theirs $theirs_time"
