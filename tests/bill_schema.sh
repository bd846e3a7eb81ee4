#!/usr/bin/env bash
# Validates bills of materials against the schema of CycloneDX 1.6, with cyclonedx-python-lib from PyPI, which has the schema.
# Exit status: 0 valid, 1 not, 2 wrong usage, 77 not run (no such library here).
set -euo pipefail

readonly VERSION=11.12.0

if [[ $# -lt 1 ]]; then
    echo "usage: ${0##*/} BILL…: files in CycloneDX JSON" >&2
    exit 2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

not_run() {
    echo "NOT RUN: validation with cyclonedx-python-lib $VERSION: $1"
    exit 77
}

python3 -m venv "$work/venv" >"$work/log" 2>&1 || not_run "python3 has no venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "cyclonedx-python-lib[json-validation]==$VERSION" \
    >"$work/log" 2>&1 || not_run "pip cannot install it: $(tail -n 1 "$work/log")"

"$work/venv/bin/python" - "$@" <<'PYTHON'
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

validator = JsonStrictValidator(SchemaVersion.V1_6)
# The library finds what is wrong in what is wrong, or this would show nothing.
if validator.validate_str('{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 0}') is None:
    sys.exit("the validator accepts an invalid version")
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        error = validator.validate_str(file.read())
    if error is not None:
        sys.exit(f"{path}: {error}")
    print(f"{path} is valid CycloneDX 1.6")
PYTHON
