// Does the page, opened from a file in a browser, verify what is dropped on it, as the program does,
// and reach no network whatever happens?
//
// usage: node --test page.mjs, with the directory of scripts/web in KETTLE_WEB, the program in
// KETTLE, Chromium in KETTLE_CHROMIUM; screenshots go to KETTLE_SCREENSHOTS, if it is set

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

import { Browser } from "./browser.mjs";

const cases = fileURLToPath(new URL("../conformance/", import.meta.url));
const { KETTLE_WEB: web, KETTLE: kettle, KETTLE_CHROMIUM: chromium, KETTLE_SCREENSHOTS: screenshots } = process.env;
const { cases: all } = JSON.parse(readFileSync(join(cases, "cases.json"), "utf8"));
const accepted = all.find((found) => found.bundle && found.expected.status === 0);
const rejected = all.find((found) => found.name.startsWith("tcb-mismatch"));

let browser;
let work;
let page;

before(async () => {
  work = mkdtempSync(join(tmpdir(), "kettle-page-"));
  browser = new Browser(chromium);
  page = await browser.page();
  await page.send("Emulation.setDeviceMetricsOverride", { width: 1100, height: 1400, deviceScaleFactor: 1, mobile: false });
  await page.open(pathToFileURL(join(web, "kettle.html")).href);
});

after(async () => {
  await browser?.close();
  if (work) rmSync(work, { recursive: true, force: true });
});

/** Gives the page the options of a case. */
async function expecting({ options }) {
  await page.value(`document.querySelector("form").reset()`);
  for (const [name, field] of [["nonce", "nonce"], ["at", "at"], ["min-tcb", "minTcb"], ["repository", "repository"]]) {
    await page.value(`document.querySelector("form").elements.${field}.value = ${JSON.stringify(options[name] ?? "")}`);
  }
  await page.value(`document.querySelector("form").elements.measurement.value = ${JSON.stringify((options.measurement ?? []).join("\n"))}`);
  await page.choose("[name=trustRoot]", join(cases, options["trust-root"]));
}

/** Drops a file, and returns the document that the page shows. */
async function verdict(path, selector = "#bundle-drop") {
  await page.value(`document.querySelector("#result").hidden = true`);
  await page.drop(selector, path);
  await page.until(`!document.querySelector("#result").hidden`);
  return page.value(`document.querySelector("#json").textContent`);
}

/** Returns what the program prints. */
function printed(path, { options }) {
  const given = Object.entries(options).flatMap(([name, value]) =>
    [value].flat().flatMap((one) => [`--${name}`, ...(one === true ? [] : [one])]),
  );
  return spawnSync(kettle, ["verify", path, "--json", ...given], { cwd: cases, encoding: "utf8" }).stdout;
}

async function picture(name) {
  if (!screenshots) return;
  mkdirSync(screenshots, { recursive: true });
  for (const scheme of ["light", "dark"]) {
    await page.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
    writeFileSync(join(screenshots, `${name}-${scheme}.png`), await page.screenshot());
  }
}

test("an accepted bundle is accepted, with what the program prints", async () => {
  const path = join(cases, accepted.bundle);
  await picture("start");
  await expecting(accepted);
  assert.equal(await verdict(path), printed(path, accepted));
  assert.equal(await page.value(`document.querySelector("#verdict").textContent`), "Accepted");
  assert.match(await page.value(`document.querySelector("#warnings").textContent`), /test hierarchy is trusted instead of AMD/);
  await picture("accepted");
});

test("a file of the reader is compared with the artifacts", async () => {
  const [same, other] = [join(work, "program"), join(work, "other", "program")];
  mkdirSync(join(work, "other"));
  writeFileSync(same, "the program");
  writeFileSync(other, "another program");
  await page.drop("#artifact-drop", same);
  await page.until(`document.querySelector("#compared").textContent.includes("byte for byte")`);
  assert.equal(await page.value(`document.querySelector("#artifacts td.same").textContent`), "same: program");
  await page.drop("#artifact-drop", other);
  await page.until(`document.querySelector("#compared").textContent.includes("none of these")`);
  const digest = createHash("sha256").update("another program").digest("hex");
  assert.equal(await page.value(`document.querySelector("#artifacts td.other").textContent`), `differs: ${digest}`);
});

test("a rejected bundle is rejected, with both sides", async () => {
  const path = join(cases, rejected.bundle);
  await expecting(rejected);
  assert.equal(await verdict(path), printed(path, rejected));
  const shown = await page.value(`document.querySelector("#checks li.reject").textContent`);
  for (const part of ["tcb-mismatch", "expected", "actual"]) assert.ok(shown.includes(part), shown);
  assert.equal(await page.value(`document.querySelector("#claims-section").hidden`), true);
  await picture("rejected");
});

test("an acceptance with a waived check claims no known image", async () => {
  const options = { ...accepted.options, measurement: ["5b".repeat(48)], waive: ["launch-measurement"] };
  const path = join(cases, accepted.bundle);
  await expecting({ options });
  await page.value(`document.querySelector("[name=waive][value=launch-measurement]").click()`);
  assert.equal(await verdict(path), printed(path, { options }));
  assert.equal(await page.value(`document.querySelector("#verdict").textContent`), "Accepted");
  assert.match(await page.value(`document.querySelector("#summary").textContent`), /except for those that you waived/);
  assert.match(await page.value(`document.querySelector("#warnings").textContent`), /launch-measurement: waived/);
  await picture("waived");
});

test("a text file is rejected", async () => {
  const path = join(work, "text.txt");
  writeFileSync(path, "This is no bundle. <b>\u202e</b>\n");
  await expecting(accepted);
  assert.equal(await verdict(path), printed(path, accepted));
  await picture("text");
});

test("a bundle of a hundred megabytes is read in pieces", { skip: !process.env.KETTLE_ALL && "KETTLE_ALL=1 runs it" }, async () => {
  // A bundle whose one artifact is not the statement's, so that all of it is read.
  const path = join(work, "large.tar.gz");
  const made = spawnSync("python3", [fileURLToPath(new URL("large.py", import.meta.url)), join(cases, accepted.bundle), path], { encoding: "utf8" });
  assert.equal(made.status, 0, made.stderr);
  await expecting(accepted);
  const start = Date.now();
  const document = await verdict(path);
  console.log(`100 MB: ${Date.now() - start} ms`);
  assert.equal(document, printed(path, accepted));
  assert.ok(document.includes("subject-digest"), document);
  assert.match(await page.value(`document.querySelector("#artifacts").textContent`), /MiB/);
});

test("a wrong option verifies nothing, and says why", async () => {
  await expecting(accepted);
  await page.value(`document.querySelector("form").elements.nonce.value = "xyz"`);
  const document = JSON.parse(await verdict(join(cases, accepted.bundle)));
  assert.equal(document.verdict, "error");
  assert.match(await page.value(`document.querySelector("#summary").textContent`), /nonce/);
});

test("a policy file is read, with the files that it names", async () => {
  await page.value(`document.querySelector("form").reset()`);
  const { options } = accepted;
  const [policy, root] = [join(work, "policy.toml"), join(work, "root.pem")];
  writeFileSync(root, readFileSync(join(cases, options["trust-root"])));
  writeFileSync(policy, `trust-root = "root.pem"\nmeasurement = ["${options.measurement[0]}"]\nat = "${options.at}"\n`);
  await page.choose("[name=policy]", policy);
  await page.choose("[name=policyFiles]", root);
  const path = join(cases, accepted.bundle);
  const expected = spawnSync(kettle, ["verify", path, "--json", "--policy", policy], { encoding: "utf8" });
  assert.equal(await verdict(path), expected.stdout);
  assert.equal(expected.status, 0);
});

test("a keyboard is enough, and the result is announced", async () => {
  await page.open(pathToFileURL(join(web, "kettle.html")).href);
  const seen = [];
  for (let count = 0; count < 40; count += 1) {
    await page.press("Tab");
    seen.push(await page.value(`document.activeElement.id || document.activeElement.name || document.activeElement.localName`));
    if (seen.at(-1) === "summary") await page.press("Enter");
  }
  for (const wanted of ["bundle", "nonce", "repository", "measurements", "trustRoot", "waive"]) {
    assert.ok(seen.includes(wanted), `${wanted} is not reached: ${seen}`);
  }
  await expecting(accepted);
  await verdict(join(cases, accepted.bundle));
  assert.equal(await page.value(`document.activeElement.id`), "verdict");
  const { nodes } = await page.send("Accessibility.getFullAXTree");
  const named = (role) => nodes.filter((node) => node.role?.value === role && !node.ignored).map((node) => node.name?.value ?? "");
  for (const role of ["button", "textbox", "checkbox", "link", "heading", "table"]) {
    for (const name of named(role)) assert.notEqual(name.trim(), role === "table" ? null : "", `a ${role} has no name`);
  }
  assert.ok(named("heading").includes("Accepted"));
});

test("the page fits a narrow screen", async () => {
  await page.send("Emulation.setDeviceMetricsOverride", { width: 360, height: 800, deviceScaleFactor: 1, mobile: true });
  await verdict(join(cases, accepted.bundle));
  const [width, wide] = await page.value(`[document.documentElement.scrollWidth, innerWidth]`);
  await picture("narrow");
  assert.ok(width <= wide, `${width} > ${wide}`);
  await page.send("Emulation.setDeviceMetricsOverride", { width: 1100, height: 1400, deviceScaleFactor: 1, mobile: false });
});

test("no request leaves the page, even if its script tries", async () => {
  const hits = [];
  const server = createServer((request, response) => {
    hits.push(request.url);
    response.end("x");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  const foreign = () => page.requests.filter((address) => !/^(file|blob|data|about):/.test(address));
  assert.deepEqual(foreign(), []);
  const refused = await page.value(`(async () => {
    const refused = [];
    document.addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
    await fetch("${url}/fetch").catch(() => {});
    try { navigator.sendBeacon("${url}/beacon"); } catch {}
    try { new WebSocket("ws://127.0.0.1:${server.address().port}/socket"); } catch {}
    try { new EventSource("${url}/events"); } catch {}
    try { new Worker("${url}/worker"); } catch {}
    for (const [name, attribute] of [["img", "src"], ["script", "src"], ["iframe", "src"], ["object", "data"], ["video", "src"]]) {
      const element = document.createElement(name);
      element[attribute] = "${url}/" + name;
      document.body.append(element);
    }
    for (const rel of ["stylesheet", "prefetch", "preload", "icon", "manifest"]) {
      const link = document.createElement("link");
      Object.assign(link, { rel, href: "${url}/" + rel, as: "image" });
      document.head.append(link);
    }
    const style = document.createElement("style");
    style.textContent = "body { background: url(${url}/background) }";
    document.head.append(style);
    const form = document.createElement("form");
    form.action = "${url}/form";
    document.body.append(form);
    form.submit();
    document.body.insertAdjacentHTML("beforeend", "<p onclick='fetch(1)'>");
    await new Promise((resolve) => setTimeout(resolve, 1500));
    return refused;
  })()`);
  server.close();
  assert.deepEqual(hits, [], "the server was asked");
  for (const directive of ["connect-src", "img-src", "script-src-elem", "frame-src", "object-src", "media-src", "manifest-src", "style-src-elem", "form-action"]) {
    assert.ok(refused.includes(directive), `${directive} refused nothing: ${refused}`);
  }
});
