#!/usr/bin/env bash
# Compares `kettle measure` with another calculator, sev-snp-measure from PyPI, on every combination below, single
# measurements and those that its chains are extended to, and prints the time of both. A changed command line has to make a
# difference, so that agreement means something. Exit status: 0 agreement, 1 disagreement, 2 wrong usage, 77 not run (no
# such calculator here).
set -euo pipefail

readonly VERSION=0.0.13
readonly TYPES=(EPYC-v4 EPYC-Milan EPYC-Genoa EPYC-Turin)
readonly COUNTS=(1 2 5 64 65 255)
readonly FEATURES=(0x1 0x21)
readonly LINES=("" "console=ttyS0 roothash=00ff quiet")
readonly VMMS=(qemu ec2 gce)

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

# Our measurement of a launch. The last arguments say what of it.
measure() { # VMM FEATURES LINE ARGUMENT…
    "$kettle" measure \
        --firmware "$firmware" \
        --kernel "$data/kernel-a.bin" \
        --initrd "$data/initrd-a.bin" \
        --command-line "$3" \
        --guest-features "$2" \
        --vmm "$1" \
        "${TYPES[@]/#/--vcpu-type=}" \
        "${@:4}"
}

# Every launch: hypervisor, features and command line.
each_launch() { # FUNCTION
    local line features vmm
    for vmm in "${VMMS[@]}"; do
        for line in "${LINES[@]}"; do
            for features in "${FEATURES[@]}"; do
                "$1" "$vmm" "$features" "$line" | sed "s|^|$vmm $features [$line] |"
            done
        done
    done
}

# One line a combination: hypervisor, features, command line, type, vCPUs, measurement.
single() { measure "$@" "${COUNTS[@]/#/--vcpus=}"; }
ours() { each_launch single; }

# The same lines, each measurement calculated here from the chain of its type.
extended() { measure "$@" --chain --json | python3 -c "$EXTEND" "${COUNTS[@]}"; }
ours_by_chain() { each_launch extended; }
# Adds a VMSA for each vCPU to the digest before the first (AMD 56860, SNP_LAUNCH_UPDATE).
readonly EXTEND='
import hashlib, json, sys

for chain in json.load(sys.stdin)["chains"]:
    digests, digest = [], bytes.fromhex(chain["launch_digest"])
    for vcpu in range(max(map(int, sys.argv[1:]))):
        page = bytes.fromhex(chain["ap_vmsa" if vcpu else "bsp_vmsa"])
        info = digest + page + bytes([0x70, 0, 2, 0, 0, 0, 0, 0]) + (0xFFFFFFFFF000).to_bytes(8, "little")
        digest = hashlib.sha384(info).digest()
        digests.append(digest.hex())
    for count in map(int, sys.argv[1:]):
        print(chain["vcpu_type"], count, digests[count - 1])
'

theirs() {
    "$work/venv/bin/python" - "$firmware" "$data" "${#TYPES[@]}" "${TYPES[@]}" "${#COUNTS[@]}" "${COUNTS[@]}" \
        "${#FEATURES[@]}" "${FEATURES[@]}" "${#LINES[@]}" "${LINES[@]}" "${#VMMS[@]}" "${VMMS[@]}" <<'PYTHON'
import sys

from sevsnpmeasure import guest, vcpu_types
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vmm_types import VMMType

firmware, data, *rest = sys.argv[1:]


def take():
    count = int(rest.pop(0))
    taken, rest[:] = rest[:count], rest[count:]
    return taken


types, counts, features, lines, vmms = take(), take(), take(), take(), take()
for vmm in vmms:
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
ours_by_chain >"$work/chain"

combinations=$(sort -u "$work/theirs" | wc -l)
expected=$((${#VMMS[@]} * ${#LINES[@]} * ${#FEATURES[@]} * ${#TYPES[@]} * ${#COUNTS[@]}))
if ((combinations != expected || combinations < 200)); then
    echo "only $combinations combinations were calculated, not $expected: $theirs_time" >&2
    exit 1
fi
if ! diff -u "$work/theirs" "$work/ours"; then
    echo "kettle measure and sev-snp-measure $VERSION disagree" >&2
    exit 1
fi
if ! diff -u "$work/theirs" "$work/chain"; then
    echo "the chains of kettle measure do not lead to what sev-snp-measure $VERSION calculates" >&2
    exit 1
fi
# The control: another launch has to be none of these.
measure qemu 0x1 "other" --vcpus=1 --vcpus=255 >"$work/other"
while read -r _ _ digest; do
    if [[ ! $digest =~ ^[0-9a-f]{96}$ ]] || grep -q "$digest" "$work/theirs"; then
        echo "another command line makes no difference: this comparison cannot fail" >&2
        exit 1
    fi
done <"$work/other"
echo "kettle measure, and its chains, agree with sev-snp-measure $VERSION on $combinations combinations:" \
    "$ours_time, theirs $theirs_time"
