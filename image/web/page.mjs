// The page: gives files and expectations to the worker, and shows what it returns. It decides
// nothing. Text from a bundle is shown as text, with everything escaped but printable ASCII.

const CHECKS = {
  bundle: "The archive is in its one encoding, and has only a bundle's files",
  endorsements: "AMD's root vouches for the key that signed the report",
  "certificate-binding": "The certificate is for this chip, product and firmware",
  "report-signature": "The secure processor signed this report",
  "guest-policy": "The host could neither debug nor migrate the machine",
  tcb: "The firmware is consistent and new enough",
  "launch-measurement": "The machine started a published image",
  "runtime-data": "The report is about the key that signs quotes",
  paravisor: "The paravisor is Microsoft's, and new enough",
  quote: "The TPM signed its registers",
  "boot-measurement": "The machine started a published image",
  "report-data": "The report is about this statement and its nonce",
  nonce: "The nonce is the one that you gave",
  statement: "The statement has the known form and a known builder",
  expectations: "Source, options and artifacts are those that you expect",
  envelope: "The signed copy for other tools is this statement",
  subjects: "Every file is one that the statement names, with its digest",
};

const OUTCOMES = {
  pass: "pass",
  reject: "reject",
  waived: "waived",
  "not-checked": "not checked",
  "not-reached": "not reached",
};

/** Why a check was not made, where that is not for want of an expectation. */
const UNASKED = { envelope: "the bundle has no signed copy for other tools" };

const VERDICTS = {
  accepted: ["Accepted", "A genuine machine with a known image made these artifacts. Read the claims: they say from which source."],
  rejected: ["Rejected", "Do not trust this bundle. Nothing in it is established."],
  error: ["Nothing was verified", ""],
};

const TEST_ONLY = "Every check holds under the test hierarchy that you gave, and only under it.";

const WAIVED = "Every check holds, except for those that you waived: what they stand for is not established.";

/** The units of sizes, each 1024 times the one before it. */
const UNITS = ["bytes", "KiB", "MiB", "GiB"];

const $ = (id) => document.getElementById(id);
const form = $("policy");
let files = [];
let chosen;
let latest = 0;
let url;

const shown = (text) =>
  String(text).replace(/[^\x20-\x7e]/gu, (character) => `\\u{${character.codePointAt(0).toString(16)}}`);

/** Returns an element with text or other elements in it. */
function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

// The worker

function worker() {
  const source = new Blob([$("worker").textContent], { type: "text/javascript" });
  const address = URL.createObjectURL(source);
  const started = new Worker(address);
  const waiting = new Map();
  started.onmessage = ({ data }) => {
    const { id, progress, found, error } = data;
    const call = waiting.get(id);
    if (progress !== undefined) return call.progress(progress);
    waiting.delete(id);
    if (error === undefined) call.resolve(found);
    else call.reject(new Error(error));
  };
  started.onerror = (event) => {
    for (const call of waiting.values()) call.reject(new Error(event.message || "the worker failed"));
    waiting.clear();
  };
  let count = 0;
  return {
    post: (message) => started.postMessage(message),
    call(kind, file, options, progress) {
      const id = ++count;
      started.postMessage({ id, kind, file, options });
      return new Promise((resolve, reject) => waiting.set(id, { resolve, reject, progress }));
    },
  };
}

const verifier = worker();
const text = atob($("module").textContent.trim());
const ready = WebAssembly.compile(Uint8Array.from(text, (character) => character.charCodeAt(0))).then((module) =>
  verifier.post({ module }),
);

// Expectations

const lines = (value) => value.split("\n").map((line) => line.trim()).filter((line) => line !== "");

/** Returns the options of the form; throws if one is not in its form. */
async function options() {
  const found = {};
  for (const name of ["nonce", "repository", "ref", "commit", "minTcb"]) {
    const value = form.elements[name].value.trim();
    if (value !== "") found[name] = value;
  }
  for (const name of ["option", "measurement"]) {
    const values = lines(form.elements[name].value);
    if (values.length) found[name] = values;
  }
  for (const name of ["vcek", "crl", "trustRoot"]) {
    const [file] = form.elements[name].files;
    if (file) found[name] = await content(file);
  }
  const measurements = [...form.elements.measurements.files];
  if (measurements.length) {
    found.measurements = await Promise.all(measurements.map(async (file) => ({ name: file.name, content: await content(file) })));
  }
  const [policy] = form.elements.policy.files;
  if (policy) {
    const named = [...form.elements.policyFiles.files].map(async (file) => ({ name: file.name, content: await content(file) }));
    found.policy = { toml: new TextDecoder("utf-8", { fatal: true }).decode(await content(policy)), files: await Promise.all(named) };
  }
  if (form.elements.noOptions.checked) found.noOptions = true;
  const waived = [...form.elements.waive].filter((box) => box.checked).map((box) => box.value);
  if (waived.length) found.waive = waived;
  const at = form.elements.at.value.trim();
  if (at !== "") {
    if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(at) || Number.isNaN(Date.parse(at))) {
      throw new Error(`the time ${shown(at)} is not one such as 2026-01-31T12:00:00Z`);
    }
    found.at = Date.parse(at);
  }
  return found;
}

/** Reads a small file as a whole; the limit is that of `kettle verify`. */
async function content(file) {
  if (file.size > 1 << 20) throw new Error(`${shown(file.name)} is over the limit of 1048576 bytes`);
  return new Uint8Array(await file.arrayBuffer());
}

function countExpectations() {
  const given = [...form.elements].filter((field) =>
    field.type === "checkbox" ? field.checked : field.type === "file" ? field.files.length : "value" in field && field.type !== "submit" && field.type !== "reset" && field.value.trim() !== "",
  );
  $("expected-count").textContent = given.length ? `(${given.length} given)` : "(nothing yet)";
  $("again").disabled = chosen === undefined;
}

// Verification

async function verify(file) {
  chosen = file;
  const turn = ++latest;
  $("bundle-name").textContent = `Chosen: ${shown(file.name)}, ${size(file.size)}.`;
  $("result").hidden = true;
  countExpectations();
  progress("Verifying", 0);
  let found;
  let given = {};
  try {
    await ready;
    given = await options();
    found = await verifier.call("bundle", file, given, (part) => turn === latest && progress("Verifying", part));
  } catch (error) {
    const reason = error.message;
    found = { status: 2, document: `${JSON.stringify({ checks: [], error: reason, verdict: "error" })}\n`, files: [] };
  }
  if (turn !== latest) return;
  progress();
  show(found, given);
}

function progress(word, part) {
  const bar = $("progress").querySelector("progress");
  bar.hidden = word === undefined;
  bar.value = part ?? 0;
  const percent = part ? ` ${Math.floor(part * 100)} %` : "";
  $("progress").querySelector("span").textContent = word === undefined ? "" : `${word}${percent} …`;
}

function size(bytes) {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`;
}

// The result

function show(found, given) {
  const verdict = JSON.parse(found.document);
  const [title, usual] = VERDICTS[verdict.verdict];
  const sentence = verdict.verdict === "accepted" ? acceptance(verdict, given, usual) : usual;
  const result = $("result");
  result.className = verdict.verdict;
  $("verdict").textContent = title;
  const failed = verdict.checks.filter((check) => check.outcome === "reject").map((check) => check.check);
  const which = failed.length ? ` It fails the check${failed.length > 1 ? "s" : ""} ${failed.join(", ")}.` : "";
  $("summary").textContent = verdict.error === undefined ? sentence + which : shown(verdict.error);
  $("warnings").replaceChildren(...warnings(verdict, given));
  $("checks").replaceChildren(...verdict.checks.map(check));
  $("checks-section").hidden = verdict.checks.length === 0;
  const claims = Object.entries(verdict.claims ?? {}).filter(([name, value]) => value !== null && name !== "not_established");
  $("claims").replaceChildren(...claims.flatMap(claim));
  $("claims-section").hidden = claims.length === 0;
  files = found.files;
  $("artifacts").replaceChildren(...files.map(artifact));
  $("artifacts-section").hidden = files.length === 0;
  $("artifacts-note").textContent = verdict.verdict === "accepted"
    ? "As they are in the bundle; the statement names each of them with this digest."
    : "As they were read from the bundle, which is not accepted: nothing vouches for them.";
  $("compared").textContent = "";
  $("json").textContent = found.document;
  if (url) URL.revokeObjectURL(url);
  url = URL.createObjectURL(new Blob([found.document], { type: "application/json" }));
  $("save").href = url;
  result.hidden = false;
  $("verdict").focus();
}

/** Returns what an accepted bundle is, and no more than its verdict says. */
function acceptance(verdict, given, usual) {
  if (verdict.checks.some((check) => check.outcome === "waived")) return WAIVED;
  return isTest(verdict, given) ? TEST_ONLY : usual;
}

/** Returns whether a test hierarchy was trusted; of a policy's, only an accepted verdict tells. */
function isTest(verdict, given) {
  return given.trustRoot !== undefined || (verdict.claims?.root ?? "").includes("not AMD");
}

function warnings(verdict, given) {
  const notes = [];
  if (isTest(verdict, given)) {
    notes.push(element("p", { class: "note warn" }, "A test hierarchy is trusted instead of AMD: this says nothing about a real machine."));
  }
  if (verdict.verdict !== "accepted") return notes;
  const open = [];
  for (const { check, outcome } of verdict.checks) {
    if (outcome === "waived") open.push(`${check}: waived`);
    if (outcome === "not-checked") open.push(`${check}: ${UNASKED[check] ?? "you did not ask for it"}`);
  }
  open.push(...(verdict.claims.not_established ?? []).map(shown));
  if (open.length) {
    const list = element("ul", {}, ...open.map((sentence) => element("li", {}, sentence)));
    notes.push(element("div", { class: "note warn" }, element("p", {}, element("b", {}, "Not established")), list));
  }
  return notes;
}

function check({ check: name, outcome, code, expected, actual, detail }) {
  const told = element("div", {}, element("p", {}, element("b", {}, name)));
  told.append(element("p", { class: "what" }, CHECKS[name] ?? ""));
  if (code !== undefined) {
    told.append(element("p", { class: "why" }, element("code", {}, code), ` ${shown(detail)}`));
    const sides = [["expected", expected, actual], ["actual", actual, expected]].filter(([, side]) => side !== null);
    if (sides.length) told.append(element("dl", { class: "sides" }, ...sides.flatMap(side)));
  }
  return element("li", { class: outcome }, element("span", { class: "outcome" }, OUTCOMES[outcome] ?? outcome), told);
}

/** Returns one side of a rejection, with the part that differs from the other one marked. */
function side([name, value, other]) {
  const text = shown(value);
  const against = other === null ? text : shown(other);
  const most = Math.min(text.length, against.length);
  let start = 0;
  while (start < most && text[start] === against[start]) start += 1;
  let end = 0;
  while (end < most - start && text.at(-1 - end) === against.at(-1 - end)) end += 1;
  const differing = text.slice(start, text.length - end);
  const content = element("dd", { class: "mono" }, text.slice(0, start));
  if (differing !== "") content.append(element("mark", {}, differing));
  content.append(text.slice(text.length - end));
  return [element("dt", {}, name), content];
}

function claim([name, value]) {
  const plain = typeof value === "string" ? value : JSON.stringify(value, null, 1).replace(/\n */g, " ");
  const content = element("dd", typeof value === "string" && /^[0-9a-f]{16,}$/.test(value) ? { class: "mono" } : {}, shown(plain));
  return [element("dt", {}, name.replaceAll("_", " ")), content];
}

function artifact(file) {
  const kind = file.executable ? " (program)" : "";
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, shown(file.name) + kind),
    element("td", { class: "number" }, size(file.size)),
    element("td", {}, element("span", { class: "mono" }, file.sha256)),
    element("td", {}, "–"),
  );
}

// Comparison with files of the reader

async function compare(own) {
  const told = [];
  for (const file of own) {
    progress("Comparing", 0);
    try {
      await ready;
      const found = await verifier.call("digest", file, {}, (part) => progress("Comparing", part));
      told.push(compared(file, found.sha256));
    } catch (error) {
      told.push(`${shown(file.name)}: ${shown(error.message)}`);
    }
  }
  progress();
  $("compared").textContent = told.join(" ");
}

/** Marks the rows of a file, and returns what is to be said about it. */
function compared(file, sha256) {
  const name = shown(file.name);
  const same = files.filter((artifact) => artifact.sha256 === sha256);
  const rows = [...$("artifacts").rows];
  for (const artifact of same) mark(rows[files.indexOf(artifact)], "same", `same: ${name}`);
  const accepted = $("result").classList.contains("accepted");
  const caution = accepted ? "" : " The bundle is not accepted, so this proves nothing.";
  if (same.length) return `${name} is ${shown(same[0].name)}, byte for byte.${caution}`;
  const alike = files.filter((artifact) => artifact.name.split("/").pop() === file.name);
  for (const artifact of alike) mark(rows[files.indexOf(artifact)], "other", `differs: ${sha256}`);
  return `${name} is none of these artifacts: its SHA-256 is ${sha256}.`;
}

function mark(row, kind, sentence) {
  row.cells[3].className = kind;
  row.cells[3].textContent = sentence;
}

// Events

$("bundle").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  target.value = "";
  if (file) verify(file);
});
$("artifact").addEventListener("change", ({ target }) => {
  const own = [...target.files];
  target.value = "";
  compare(own);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (chosen) verify(chosen);
});
form.addEventListener("input", countExpectations);
form.addEventListener("reset", () => setTimeout(countExpectations));
let depth = 0;
const over = (change) => {
  depth = change === 0 ? 0 : depth + change;
  document.body.classList.toggle("over", depth > 0);
};
addEventListener("dragenter", (event) => (event.preventDefault(), over(1)));
addEventListener("dragleave", () => over(-1));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  over(0);
  const dropped = [...event.dataTransfer.files];
  if (dropped.length === 0) return;
  if (event.target.closest?.("#artifact-drop")) compare(dropped);
  else if (event.target.matches?.("input[type=file]")) {
    event.target.files = event.dataTransfer.files;
    countExpectations();
  } else verify(dropped[0]);
});
$("copy").addEventListener("click", async () => {
  let told = "Copied";
  try {
    await navigator.clipboard.writeText($("json").textContent);
  } catch {
    $("json").closest("details").open = true;
    getSelection().selectAllChildren($("json"));
    told = "Selected: copy it with your keyboard";
  }
  $("copy").textContent = told;
  setTimeout(() => ($("copy").textContent = "Copy"), 3000);
});
countExpectations();
