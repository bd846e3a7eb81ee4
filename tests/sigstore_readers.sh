#!/usr/bin/env bash
# Do other tools accept a signed statement with its key, and refuse each copy that breaks one rule? The tools are
# securesystemslib (PyPI), sigstore-js (npm) and, if COSIGN names its program, cosign 2.5 or newer; all run without a
# network. Exit status: 0 yes, 1 no, 2 wrong usage, 77 not run (something cannot be installed here).
set -euo pipefail

readonly SECURESYSTEMSLIB=1.6.0
readonly SIGSTORE_VERIFY=4.1.3
readonly SIGSTORE_BUNDLE=5.0.1

if [[ $# -ne 3 ]]; then
    echo "usage: ${0##*/} BUNDLE KEY ARTIFACT: provenance.sigstore.json, its key (PEM), and a file that is a subject" >&2
    exit 2
fi
bundle=$(realpath "$1")
key=$(realpath "$2")
artifact=$(realpath "$3")

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
npm install --prefix "$work/npm" --no-audit --no-fund --ignore-scripts \
    "@sigstore/verify@$SIGSTORE_VERIFY" "@sigstore/bundle@$SIGSTORE_BUNDLE" \
    >"$work/log" 2>&1 || not_run "npm cannot install sigstore-js: $(tail -n 1 "$work/log")"

# What is broken: a byte of the payload, the key, the artifact.
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 2>/dev/null | openssl pkey -pubout -out "$work/other.pub"
python3 - "$bundle" >"$work/flipped.json" <<'PYTHON'
import base64
import json
import sys

container = json.load(open(sys.argv[1], encoding="utf-8"))
payload = bytearray(base64.b64decode(container["dsseEnvelope"]["payload"]))
payload[len(payload) // 2] ^= 1
container["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
json.dump(container, sys.stdout)
PYTHON
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
        --new-bundle-format --trusted-root "$work/root.json" --type slsaprovenance1 "$3"
}

failed=0
# expect WANTED TOOL WHAT BUNDLE KEY ARTIFACT
expect() {
    local found=refused
    if "$2" "$4" "$5" "$6" >"$work/log" 2>&1; then found=accepted; fi
    echo "$2: $3: $found"
    if [[ $found != "$1" ]]; then
        echo "$2: $3: should be $1: $(tail -n 1 "$work/log")" >&2
        failed=1
    fi
}

tools=(securesystemslib sigstore_js)
[[ -z ${COSIGN:-} ]] || tools+=(cosign)
for tool in "${tools[@]}"; do
    expect accepted "$tool" 'as it is' "$bundle" "$key" "$artifact"
    expect refused "$tool" 'a flipped bit of the payload' "$work/flipped.json" "$key" "$artifact"
    expect refused "$tool" 'another key' "$bundle" "$work/other.pub" "$artifact"
done
[[ -z ${COSIGN:-} ]] || expect refused cosign 'another artifact' "$bundle" "$key" "$work/other"
exit "$failed"
