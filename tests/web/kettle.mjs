// Runs the module with the arguments of `kettle verify`, in node: what its program is for a machine.
//
// usage: node kettle.mjs PACKAGE ARGUMENT…: PACKAGE is the npm directory that scripts/web made

import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readFileSync, readSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** The options with a text, by the names that the module has for them. */
const TEXT = { nonce: "nonce", "min-tcb": "minTcb", repository: "repository", ref: "ref", commit: "commit" };
const LISTS = { measurement: "measurement", option: "option", waive: "waive" };
const FILES = { vcek: "vcek", crl: "crl", "trust-root": "trustRoot", spki: "publicKey" };

/** Returns the module's options and the path of what it is to verify. */
export function parse(args) {
  const options = {};
  let bundle;
  let session;
  for (let index = 0; index < args.length; index += 1) {
    if (!args[index].startsWith("--")) {
      bundle = args[index];
      continue;
    }
    const name = args[index].slice(2);
    if (name === "json") continue;
    if (name === "no-options") {
      options.noOptions = true;
      continue;
    }
    index += 1;
    const value = args[index];
    if (name === "session") session = value;
    else if (name === "at") options.at = new Date(value);
    else if (name in TEXT) options[TEXT[name]] = value;
    else if (name in LISTS) (options[LISTS[name]] ??= []).push(value);
    else if (name in FILES) options[FILES[name]] = readFileSync(value);
    else if (name === "artifact") {
      const sha256 = createHash("sha256").update(readFileSync(value)).digest("hex");
      (options.artifact ??= []).push({ file: value, sha256 });
    } else if (name === "measurements") {
      (options.measurements ??= []).push({ name: value, content: readFileSync(value) });
    } else throw new Error(`unknown option --${name}`);
  }
  return { options, bundle, session };
}

/** Calls `use` with a file as a source that is read in pieces. */
export function withFile(path, use) {
  const file = openSync(path);
  try {
    return use({
      size: fstatSync(file).size,
      read: (target, offset) => readSync(file, target, 0, target.length, offset),
    });
  } finally {
    closeSync(file);
  }
}

/** Verifies as the arguments say. */
export function run(verifier, args) {
  const { options, bundle, session } = parse(args);
  if (session !== undefined) return withFile(session, (source) => verifier.verifySession(source, options));
  return withFile(bundle, (source) => verifier.verify(source, options));
}

/** Loads the package in a directory. */
export async function load(directory) {
  const { load } = await import(pathToFileURL(join(resolve(directory), "index.mjs")).href);
  return load();
}

if (process.argv[1] && basename(process.argv[1]) === basename(fileURLToPath(import.meta.url))) {
  const [directory, ...args] = process.argv.slice(2);
  const { document, status } = run(await load(directory), args);
  process.stdout.write(document);
  process.exitCode = status;
}
