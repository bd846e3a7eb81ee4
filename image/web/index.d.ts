/** A file that is read in pieces: `read` fills `target` from `offset` on, and returns the number of
 * bytes; 0 at the end. */
export interface Source {
  readonly size: number;
  read(target: Uint8Array, offset: number): number;
}

/** The options of `kettle verify`. An unknown one is an error. */
export interface Options {
  /** The moment of interest, as a `Date` or in milliseconds since 1970; now, if missing. */
  at?: Date | number;
  /** The nonce that the build was started with, hex. Without it freshness is not checked. */
  nonce?: string;
  /** Launch measurements to trust, hex; given ones replace the published ones. */
  measurement?: string[];
  /** Published files of reference values to trust. */
  measurements?: { name: string; content: Uint8Array | string }[];
  /** A VCEK or VLEK, DER or PEM, instead of the bundle's. */
  vcek?: Uint8Array | string;
  /** A revocation list of AMD, DER or PEM. */
  crl?: Uint8Array | string;
  /** The lowest firmware versions, as `snp=30`; or `none`. */
  minTcb?: string;
  repository?: string;
  ref?: string;
  commit?: string;
  /** Files that must be among the artifacts. */
  artifact?: { file: string; sha256: string }[];
  /** Options that the client must have chosen, as `features=a,b`. */
  option?: string[];
  /** Whether any other option is refused. */
  noOptions?: boolean;
  /** A test hierarchy to trust instead of AMD: PEM, its ARK then its ASK. */
  trustRoot?: Uint8Array | string;
  /** A policy file of `kettle verify --policy`: its text, and the files that it names, by the last part of their paths.
   * Other options override its single values and add to its lists. One that wants something fetched is refused. */
  policy?: { toml: string; files?: { name: string; content: Uint8Array | string }[] };
  /** Checks whose rejection does not count. */
  waive?: Waivable[];
  /** Of a session: the key that the appliance showed, DER or PEM. */
  publicKey?: Uint8Array | string;
}

export type Waivable =
  | "certificate-binding"
  | "guest-policy"
  | "tcb"
  | "launch-measurement"
  | "boot-measurement";

/** The outcome of a verification. */
export interface Verified {
  /** The exit status of `kettle verify`: 0 accepted, 1 rejected, 2 nothing was verified. */
  status: 0 | 1 | 2;
  /** What `kettle verify --json` prints, byte for byte: a `Verdict` as text. */
  document: string;
  /** The artifacts of the bundle, as they were read. They mean nothing unless `status` is 0. */
  files: { name: string; sha256: string; size: number; executable: boolean }[];
}

/** The document; `verdict.schema.json` describes it in full. */
export interface Verdict {
  verdict: "accepted" | "rejected" | "error";
  checks: {
    check: string;
    outcome: "pass" | "reject" | "waived" | "not-checked" | "not-reached";
    code?: string;
    expected?: string | null;
    actual?: string | null;
    detail?: string;
  }[];
  claims?: Record<string, unknown>;
  error?: string;
}

export declare class Verifier {
  constructor(module: WebAssembly.Module);
  /** Verifies a bundle. */
  verify(bundle: Uint8Array | Source, options?: Options): Verified;
  /** Verifies the evidence about a TLS key: the response of `GET /attestation` to the nonce. */
  verifySession(evidence: Uint8Array | Source, options?: Options): Verified;
  /** Returns the SHA-256 digest and the size of a file. */
  digest(file: Uint8Array | Source): { sha256: string; size: number };
}

/** Loads the module: from its bytes, or from the file `kettle.wasm` beside this one. */
export declare function load(source?: BufferSource | WebAssembly.Module): Promise<Verifier>;
