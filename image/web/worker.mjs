// The page's worker, after verifier.mjs: reads files in pieces, so that a large bundle neither fills
// the memory nor stops the page.

/** How many bytes are read between two reports of progress. */
const PROGRESS_BYTES = 4 << 20;

const files = new FileReaderSync();
let verifier;

/** Returns a file as a source, and reports its progress. */
function source(file, report) {
  let reported = 0;
  return {
    size: file.size,
    read(target, offset) {
      const part = files.readAsArrayBuffer(file.slice(offset, offset + target.length));
      target.set(new Uint8Array(part));
      if (offset - reported >= PROGRESS_BYTES) {
        reported = offset;
        report(offset / file.size);
      }
      return part.byteLength;
    },
  };
}

self.onmessage = ({ data: { module, id, kind, file, options } }) => {
  if (module) {
    verifier = new Verifier(module);
    return;
  }
  const answer = (members) => self.postMessage({ id, ...members });
  try {
    const input = source(file, (progress) => answer({ progress }));
    const call = {
      bundle: () => verifier.verify(input, options),
      session: () => verifier.verifySession(input, options),
      digest: () => verifier.digest(input),
    };
    answer({ found: call[kind]() });
  } catch (error) {
    answer({ error: String(error?.message ?? error) });
  }
};
