// Loads kettle.wasm: the entry of the npm package.

import { Verifier } from "./verifier.mjs";

export { Verifier };

/** Loads the module: from its bytes, or from the file beside this one (node, or a bundler). */
export async function load(source) {
  if (source instanceof WebAssembly.Module) return new Verifier(source);
  return new Verifier(await WebAssembly.compile(source ?? (await beside())));
}

async function beside() {
  const url = new URL("./kettle.wasm", import.meta.url);
  if (url.protocol !== "file:") return (await fetch(url)).arrayBuffer();
  const { readFile } = await import("node:fs/promises");
  return readFile(url);
}
