#!/usr/bin/env python3
"""Puts the page and the npm package together: assemble.py MODULE OUT.

Nothing here depends on the time, the machine or the order of a directory.
"""

import base64
import hashlib
import pathlib
import re
import shutil
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# The files of the package that are not in this directory.
SCHEMA = ROOT / "tests/conformance/verdict.schema.json"
LICENSES = ("LICENSE-APACHE", "LICENSE-MIT")
LINE = 76


def text(name):
    """Returns the text of a file of this directory."""
    return (HERE / name).read_text(encoding="utf-8")


def version():
    """Returns the version in Cargo.toml."""
    manifest = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    return re.search(r'^version = "(.*)"$', manifest, re.MULTILINE).group(1)


def source(content):
    """Returns the policy's source for an inline script or style."""
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def policy(style, script):
    """Returns the page's policy: its own script and style, a worker that it makes, a module that it
    compiles, and no connection whatever."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {source(script)} 'wasm-unsafe-eval'",
            f"style-src {source(style)}",
            "worker-src blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def page(module):
    """Returns the page with the module in it."""
    # A worker of the page is no module, and has both files in one.
    worker = text("verifier.mjs").replace("export class", "class") + text("worker.mjs")
    style, script = f"\n{text('page.css')}", f"\n{text('page.mjs')}"
    encoded = base64.b64encode(module).decode()
    lines = "\n".join(encoded[start : start + LINE] for start in range(0, len(encoded), LINE))
    parts = {
        "POLICY": policy(style, script),
        "STYLE": style,
        "WORKER": worker,
        "SCRIPT": script,
        "MODULE": f"\n{lines}\n",
        "MODULE_SHA256": hashlib.sha256(module).hexdigest(),
        "VERSION": version(),
    }
    for part in ("WORKER", "SCRIPT", "STYLE"):
        assert "</" not in parts[part], f"{part} could end its element"
    return re.sub(r"@([A-Z_0-9]+)@", lambda found: parts[found.group(1)], text("page.html"))


def main():
    module, out = pathlib.Path(sys.argv[1]).read_bytes(), pathlib.Path(sys.argv[2])
    (out / "kettle.wasm").write_bytes(module)
    (out / "kettle.html").write_text(page(module), encoding="utf-8")
    package = out / "npm"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir()
    (package / "kettle.wasm").write_bytes(module)
    for name in ("index.mjs", "verifier.mjs", "index.d.ts", "README.md"):
        (package / name).write_text(text(name), encoding="utf-8")
    manifest = text("package.json").replace("@VERSION@", version())
    (package / "package.json").write_text(manifest, encoding="utf-8")
    for file in (SCHEMA, *(ROOT / name for name in LICENSES)):
        (package / file.name).write_bytes(file.read_bytes())


if __name__ == "__main__":
    main()
