// Does the npm package refuse what it does not know, and say why nothing was verified?
//
// usage: node --test api.mjs, with the npm directory of scripts/web in KETTLE_PACKAGE

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { load } from "./kettle.mjs";

const bundle = readFileSync(new URL("../conformance/bundles/accepted-1.tar.gz", import.meta.url));
const verifier = await load(process.env.KETTLE_PACKAGE);

test("an unknown option is an error, and a wrong one verifies nothing", () => {
  assert.throws(() => verifier.verify(bundle, { noce: "00" }), /no option noce/);
  assert.throws(() => verifier.verify(bundle, { at: "yesterday" }), /not a time/);
  for (const options of [
    { nonce: "xyz" },
    { measurement: ["00"] },
    { measurements: [{ name: "file", content: "{}" }] },
    { minTcb: "snp" },
    { commit: "main" },
    { trustRoot: "no certificate" },
    { waive: ["nonce"] },
    { option: ["x"] },
    { artifact: [{ file: "a", sha256: "00" }] },
    { artifact: [{ file: "a" }] },
    { repository: 7 },
  ]) {
    const { status, document, files } = verifier.verify(bundle, options);
    const verdict = JSON.parse(document);
    assert.equal(status, 2, document);
    assert.deepEqual([verdict.verdict, verdict.checks, files], ["error", [], []]);
    assert.ok(verdict.error.length > 5, document);
  }
});

test("without a trust root, a test hierarchy is not trusted", () => {
  const { status, document, files } = verifier.verify(bundle);
  assert.equal(status, 1);
  assert.equal(JSON.parse(document).checks[1].code, "issuer-unknown");
  assert.deepEqual(files.map((file) => file.name), ["program"]);
});

test("a policy file counts as it does for kettle verify, and other options override it", () => {
  const directory = new URL("../conformance/", import.meta.url);
  const { cases } = JSON.parse(readFileSync(new URL("cases.json", directory)));
  const { options } = cases.find(({ name }) => name === "accepted-1");
  const root = { name: "root.pem", content: readFileSync(new URL(options["trust-root"], directory)) };
  const toml = `trust-root = "certificates/root.pem"\nmeasurement = "${options.measurement[0]}"\nat = ${options.at}\nnonce = "${options.nonce}"\n`;
  const accepted = verifier.verify(bundle, { policy: { toml, files: [root] } });
  assert.equal(accepted.status, 0, accepted.document);
  assert.equal(JSON.parse(accepted.document).claims.anchor, "policy");
  const other = verifier.verify(bundle, { policy: { toml, files: [root] }, nonce: "00" });
  assert.equal(JSON.parse(other.document).checks[8].code, "nonce-not-in-report");
  for (const [text, files, reason] of [
    [toml, [], /"root.pem", which was not given/],
    [`${toml}fetch-crl = true\n`, [root], /fetch-crl/],
    [`${toml}noce = "00"\n`, [root], /unknown field/],
    ["at = 2026-01-31T12:00:00+01:00", [], /not one such as/],
    ["nonce", [], /policy/],
  ]) {
    const { status, document } = verifier.verify(bundle, { policy: { toml: text, files } });
    assert.equal(status, 2, document);
    assert.match(JSON.parse(document).error, reason);
  }
});

test("a source that fails is no verdict", () => {
  const failing = {
    size: 100,
    read() {
      throw new Error("the disk is gone");
    },
  };
  assert.throws(() => verifier.verify(failing), /the disk is gone/);
});

test("pieces of any size give the same verdict", () => {
  const whole = verifier.verify(bundle).document;
  for (const most of [1, 7, 512, 4096]) {
    const source = {
      size: bundle.length,
      read(target, offset) {
        const part = bundle.subarray(offset, offset + Math.min(most, target.length));
        target.set(part);
        return part.length;
      },
    };
    assert.equal(verifier.verify(source).document, whole);
  }
});

test("a file is hashed", () => {
  const { sha256, size } = verifier.digest(new TextEncoder().encode("abc"));
  assert.equal(sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert.equal(size, 3);
});

test("everything but a bundle is rejected", () => {
  for (const bytes of [new Uint8Array(), new TextEncoder().encode("text"), bundle.subarray(0, 100)]) {
    const { status, document } = verifier.verify(bytes);
    assert.equal(status, 1, document);
    assert.equal(JSON.parse(document).checks[0].outcome, "reject");
  }
});

test("the module has one import, and needs no other", () => {
  const bytes = readFileSync(`${process.env.KETTLE_PACKAGE}/kettle.wasm`);
  const imports = WebAssembly.Module.imports(new WebAssembly.Module(bytes));
  assert.deepEqual(imports, [{ module: "kettle", name: "read", kind: "function" }]);
});

