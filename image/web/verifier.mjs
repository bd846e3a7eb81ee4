// Calls kettle.wasm, the verifier of the attested-build appliance. No network, no file, no clock
// beside `Date.now()`, which is the moment of interest where `at` is missing. The page has this file
// too, in its worker.

/** The options that are passed on as they are: their names here, and in the module. */
const TEXT = new Map([
  ["nonce", "nonce"],
  ["measurement", "measurement"],
  ["minTcb", "min-tcb"],
  ["repository", "repository"],
  ["ref", "ref"],
  ["commit", "commit"],
  ["artifact", "artifact"],
  ["option", "option"],
  ["noOptions", "no-options"],
  ["waive", "waive"],
]);

/** The options with the bytes of a file. */
const FILES = new Map([
  ["vcek", "vcek"],
  ["crl", "crl"],
  ["trustRoot", "trust-root"],
  ["publicKey", "public-key"],
]);

/** The largest part that is turned into characters at once. */
const BASE64_PART = 0x8000;

/** The compiled module. */
export class Verifier {
  #module;

  constructor(module) {
    this.#module = module;
  }

  /** Verifies a bundle: a `Uint8Array`, or an object with `size` and `read(target, offset)`. */
  verify(bundle, options = {}) {
    return this.#verified(input(bundle), { ...members(options), size: sizeOf(bundle) });
  }

  /** Verifies the evidence about a TLS key: the response of `GET /attestation` to the nonce. */
  verifySession(evidence, options = {}) {
    return this.#verified(input(evidence), { ...members(options), session: true });
  }

  /** Returns the SHA-256 digest and the size of a file. */
  digest(file) {
    const found = this.#call(input(file), (exports) => exports.digest());
    if (found.error !== undefined) throw new Error(found.error);
    return found;
  }

  #verified(read, given) {
    const bytes = new TextEncoder().encode(JSON.stringify(given));
    return this.#call(read, (exports) => {
      const address = exports.allocate(bytes.length);
      new Uint8Array(exports.memory.buffer, address, bytes.length).set(bytes);
      return exports.verify(address, bytes.length);
    });
  }

  /** Each call has an instance of its own, so nothing of one verification reaches another. */
  #call(read, run) {
    let failure;
    const imports = {
      kettle: {
        read(address, length) {
          try {
            return read(new Uint8Array(instance.exports.memory.buffer, address, length));
          } catch (error) {
            failure = error;
            return -1;
          }
        },
      },
    };
    const instance = new WebAssembly.Instance(this.#module, imports);
    const { exports } = instance;
    const returned = BigInt.asUintN(64, run(exports));
    if (failure !== undefined) throw failure;
    const address = Number(returned >> 32n);
    const length = Number(returned & 0xffffffffn);
    const text = new TextDecoder().decode(new Uint8Array(exports.memory.buffer, address, length));
    return JSON.parse(text);
  }
}

function sizeOf(source) {
  return source instanceof Uint8Array ? source.length : source.size;
}

/** Returns a function that fills a buffer with the next bytes of a source. */
function input(source) {
  let offset = 0;
  if (source instanceof Uint8Array) {
    return (target) => {
      const part = source.subarray(offset, offset + target.length);
      target.set(part);
      offset += part.length;
      return part.length;
    };
  }
  return (target) => {
    const count = source.read(target, offset);
    offset += count;
    return count;
  };
}

/** Returns the options as the module takes them. An unknown one is an error. */
function members(options) {
  const found = { now: seconds(Date.now()) };
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    if (TEXT.has(name)) found[TEXT.get(name)] = value;
    else if (FILES.has(name)) found[FILES.get(name)] = base64(value);
    else if (name === "at") found.at = seconds(value);
    else if (name === "measurements") found.measurements = value.map(named);
    else if (name === "policy") found.policy = { toml: value.toml, files: (value.files ?? []).map(named) };
    else throw new TypeError(`there is no option ${name}`);
  }
  return found;
}

/** Returns the seconds of a `Date` or of milliseconds. Before 1970 no certificate was valid. */
function seconds(at) {
  const found = Math.floor(Number(at) / 1000);
  if (!Number.isFinite(found)) throw new TypeError("at is not a time");
  return Math.max(0, found);
}

function named({ name, content }) {
  return { name, base64: base64(content) };
}

function base64(content) {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  let text = "";
  for (let start = 0; start < bytes.length; start += BASE64_PART) {
    text += String.fromCharCode(...bytes.subarray(start, start + BASE64_PART));
  }
  return btoa(text);
}
