#!/usr/bin/env python3
"""Runs a verifier on the cases of this directory, and compares its verdicts with the expected ones.

usage: run.py [--only NAME] [--update] COMMAND [ARGUMENT...]

COMMAND is run as `kettle verify` is: once for each case, with the options of the case, and prints
the document. Of it, `verdict`, the outcome and the code of every check, and the exit status must be
the expected ones; text for people may differ. Every document must be valid under
verdict.schema.json, if python3-jsonschema is installed.

  --only NAME   only cases whose names contain NAME
  --update      writes the verdicts of COMMAND to vectors.json instead of comparing; cases.json is
                written by tests/verifier/conformance.rs

Exit status: 0 all agree, 1 some do not, 2 wrong usage.
"""

import argparse
import base64
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile

HERE = pathlib.Path(__file__).resolve().parent

# A key that no report here is about: any DER SubjectPublicKeyInfo does. Reports of real hardware are
# about other data, so `report-data` and `nonce` are rejected, and all other checks say what they say.
KEY = base64.b64encode(
    bytes.fromhex(
        "3059301306072a8648ce3d020106082a8648ce3d03010703420004"
        "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
    )
).decode()


def cases():
    """Returns all cases."""
    for name in ("cases.json", "written.json", "vectors.json"):
        for case in json.loads((HERE / name).read_text(encoding="utf-8"))["cases"]:
            yield case


def document(case):
    """Returns the session document of a report, as an appliance would send it."""
    if "evidence" in case:
        found = json.loads((HERE / case["evidence"]).read_bytes())
    else:
        def encoded(path):
            return base64.b64encode((HERE / path).read_bytes()).decode()

        chain = {"vcek": encoded(case["certificate"])} if "certificate" in case else None
        found = {
            "platform": "snp",
            "evidence": {"attestation_report": encoded(case["report"]), "cert_chain": chain},
        }
    return json.dumps(found | {"tls_public_key": KEY}).encode()


def unpacked(case, directory):
    """Unpacks the bundle of a case into a directory, and makes the case's changes in it."""
    with tarfile.open(HERE / case["bundle"]) as archive:
        for member in archive.getmembers():
            path = directory / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.extractfile(member).read())
            path.chmod(member.mode)
    for change in case["unpacked"]:
        path = directory / change["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        kind, value = next((name, value) for name, value in change.items() if name != "path")
        if kind == "copy":
            path.write_bytes((HERE / value).read_bytes())
        elif kind == "symlink":
            path.symlink_to(value)
        elif kind == "hardlink":
            path.hardlink_to(directory / value)
        elif kind == "mode":
            path.chmod(int(value, 8))
        elif kind == "attribute":
            os.setxattr(path, value, b"y")
        else:
            raise ValueError(f"{case['name']}: unknown change {kind}")
    return directory


def arguments(case, session, directory):
    """Returns the arguments of a case; paths are relative to this directory."""
    found = ["--json"]
    if "unpacked" in case:
        found.append(str(unpacked(case, directory)))
    elif "bundle" in case:
        found.append(case["bundle"])
    else:
        found += ["--session", case.get("session", session)]
    for name, value in case["options"].items():
        for one in value if isinstance(value, list) else [value]:
            found.append(f"--{name}")
            if one is not True:
                found.append(one)
    return found


def run(command, case):
    """Runs the verifier; returns the document, as text, and the exit status."""
    with (
        tempfile.NamedTemporaryFile(suffix=".json") as session,
        tempfile.TemporaryDirectory() as directory,
    ):
        if "bundle" not in case and "session" not in case:
            session.write(document(case))
            session.flush()
        done = subprocess.run(
            [*command, *arguments(case, session.name, pathlib.Path(directory))],
            cwd=HERE,
            capture_output=True,
            check=False,
        )
    return done.stdout.decode(), done.returncode


def outcome(text, status):
    """Returns the part of a document that verifiers must agree about."""
    found = json.loads(text)
    checks = {
        check["check"]: " ".join([check["outcome"], *filter(None, [check.get("code")])])
        for check in found["checks"]
    }
    return {"status": status, "verdict": found["verdict"], "checks": checks}


def validator():
    """Returns a function that complains about a document that is not valid under the schema."""
    try:
        import jsonschema
    except ImportError:
        print("NOT RUN: the schema (python3-jsonschema is missing)", file=sys.stderr)
        return lambda text: []
    schema = json.loads((HERE / "verdict.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    of_schema = jsonschema.Draft202012Validator(schema)
    return lambda text: [error.message[:200] for error in of_schema.iter_errors(json.loads(text))]


def update(command):
    """Writes the verdicts of the vectors anew."""
    path = HERE / "vectors.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    for case in found["cases"]:
        case["expected"] = outcome(*run(command, case))
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if not given.command:
        parser.error("no command")
    # The command runs in this directory.
    if "/" in given.command[0]:
        given.command[0] = str(pathlib.Path(given.command[0]).resolve())
    if given.update:
        update(given.command)
        return 0
    complaints = validator()
    count, wrong = 0, 0
    for case in cases():
        if given.only not in case["name"]:
            continue
        count += 1
        try:
            text, status = run(given.command, case)
        except OSError as error:
            wrong += 1
            print(f"{case['name']}: cannot be run: {error}", file=sys.stderr)
            continue
        try:
            found, invalid = outcome(text, status), complaints(text)
        except (ValueError, KeyError) as error:
            found, invalid = None, [f"no document: {error!r}: {text[:200]!r}"]
        if found != case["expected"] or invalid:
            wrong += 1
            print(f"{case['name']}:", *invalid, file=sys.stderr)
            if found != case["expected"]:
                print(f"  expected {case['expected']}\n  actual   {found}", file=sys.stderr)
    print(f"{count} cases, {wrong} differ")
    return 1 if wrong or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
