#!/usr/bin/env bash
# Do other tools accept a signed statement and a verification summary with their keys, for each artifact, and
# refuse each copy that breaks one rule? The tools are securesystemslib (PyPI), sigstore-js (npm) and cosign (Debian;
# COSIGN names another program); all run without a network. Exit status: 0 yes, 1 no, 2 wrong usage, 77 not run
# (something cannot be installed here).
set -euo pipefail

# The mirror's address.
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"
source "$ROOT/scripts/image/lib.sh"

readonly SECURESYSTEMSLIB=1.6.0
readonly SIGSTORE_VERIFY=4.1.3
readonly SIGSTORE_BUNDLE=5.0.1
# Of Debian 13, unpacked into the test's own directory.
readonly COSIGN_PACKAGE=pool/main/c/cosign/cosign_2.5.0-2+b5_amd64.deb
readonly COSIGN_SHA256=3b6eadd27f3c4c00bfa7eab5c2397a6a15a763630c7a1d40d06ff60d24799eef

if [[ $# -ne 1 || ! -e $1/summary.json ]]; then
    echo "usage: ${0##*/} DIRECTORY, with provenance.sigstore.json, its key key.pem, the key other.pem of another bundle," >&2
    echo "       summary.json, its key summary.pem, and artifacts, a directory of subjects of both" >&2
    exit 2
fi
files=$(realpath "$1")
artifacts=("$files"/artifacts/*)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

not_run() {
    echo "NOT RUN: $1"
    exit 77
}

# No network, and the same user.
isolated() { unshare --net --map-root-user "$@"; }

isolated true 2>"$work/log" || not_run "no network namespace: $(tail -n 1 "$work/log")"
python3 -m venv "$work/venv" >"$work/log" 2>&1 || not_run "python3 has no venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "securesystemslib[crypto]==$SECURESYSTEMSLIB" \
    >"$work/log" 2>&1 || not_run "pip cannot install securesystemslib: $(tail -n 1 "$work/log")"
command -v npm >/dev/null || not_run "there is no npm"
npm install --prefix "$work/npm" --no-audit --no-fund --ignore-scripts \
    "@sigstore/verify@$SIGSTORE_VERIFY" "@sigstore/bundle@$SIGSTORE_BUNDLE" \
    >"$work/log" 2>&1 || not_run "npm cannot install sigstore-js: $(tail -n 1 "$work/log")"

if [[ -z ${COSIGN:-} ]]; then
    curl --silent --fail --location --output "$work/cosign.deb" "$(mirror main)/$COSIGN_PACKAGE" ||
        not_run "the mirror does not have $COSIGN_PACKAGE"
    sha256sum --quiet --check - <<<"$COSIGN_SHA256  $work/cosign.deb"
    dpkg-deb --extract "$work/cosign.deb" "$work/cosign"
    COSIGN=$work/cosign/usr/bin/cosign
fi

# A copy with a flipped bit in the middle of its payload.
flip() { # CONTAINER
    python3 - "$1" <<'PYTHON'
import base64
import json
import sys

container = json.load(open(sys.argv[1], encoding="utf-8"))
payload = bytearray(base64.b64decode(container["dsseEnvelope"]["payload"]))
payload[len(payload) // 2] ^= 1
container["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
json.dump(container, sys.stdout)
PYTHON
}
echo 'another file' >"$work/other"

cat >"$work/python.py" <<'PYTHON'
import json
import sys

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

with open(sys.argv[2], "rb") as file:
    key = SSlibKey.from_crypto(load_pem_public_key(file.read()))
# Signatures name no key.
key.keyid = ""
with open(sys.argv[1], encoding="utf-8") as file:
    Envelope.from_dict(json.load(file)["dsseEnvelope"]).verify([key], 1)
PYTHON

cat >"$work/npm/node.cjs" <<'NODE'
const { createPublicKey } = require('node:crypto');
const { readFileSync } = require('node:fs');
const { bundleFromJSON } = require('@sigstore/bundle');
const { Verifier, toSignedEntity } = require('@sigstore/verify');

const publicKey = createPublicKey(readFileSync(process.argv[3]));
const none = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
const trusted = { ...none, publicKey: () => ({ publicKey, validFor: () => true }) };
const verifier = new Verifier(trusted, { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 });
verifier.verify(toSignedEntity(bundleFromJSON(JSON.parse(readFileSync(process.argv[2], 'utf8')))));
NODE

# cosign 2 reads this form with an option only; without --trusted-root it would fetch Sigstore's root.
cat >"$work/root.json" <<'JSON'
{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}
JSON

# `expect` calls the following three by their names.
# shellcheck disable=SC2317
securesystemslib() { isolated "$work/venv/bin/python" "$work/python.py" "$1" "$2"; }
# shellcheck disable=SC2317
sigstore_js() { isolated node "$work/npm/node.cjs" "$1" "$2"; }
# shellcheck disable=SC2317
cosign() {
    HOME=$work isolated "$COSIGN" verify-blob-attestation --bundle "$1" --key "$2" --insecure-ignore-tlog=true \
        --new-bundle-format --trusted-root "$work/root.json" --type "$4" "$3"
}

failed=0
# expect WANTED TOOL CASE CONTAINER KEY ARTIFACT TYPE
expect() {
    local found=refused
    if "$2" "${@:4}" >"$work/log" 2>&1; then found=accepted; fi
    echo "$2: $3: $found"
    if [[ $found != "$1" ]]; then
        echo "$2: $3: should be $1: $(tail -n 1 "$work/log")" >&2
        failed=1
    fi
}

# try CONTAINER KEY TYPE
try() {
    local tool artifact name=${1##*/}
    flip "$1" >"$work/flipped.json"
    for tool in securesystemslib sigstore_js cosign; do
        expect accepted "$tool" "$name" "$1" "$2" "${artifacts[0]}" "$3"
        expect refused "$tool" "$name with a flipped bit of its payload" \
            "$work/flipped.json" "$2" "${artifacts[0]}" "$3"
        expect refused "$tool" "$name with the key of another bundle" "$1" "$files/other.pem" "${artifacts[0]}" "$3"
    done
    # The other tools look at no artifact.
    for artifact in "${artifacts[@]}"; do
        expect accepted cosign "$name with ${artifact##*/}" "$1" "$2" "$artifact" "$3"
    done
    expect refused cosign "$name with another artifact" "$1" "$2" "$work/other" "$3"
}

try "$files/provenance.sigstore.json" "$files/key.pem" slsaprovenance1
try "$files/summary.json" "$files/summary.pem" https://slsa.dev/verification_summary/v1
exit "$failed"
