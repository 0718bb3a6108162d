// A file in parts (the tus protocol): an interrupted one goes on where it stopped, after a reload too,
// when the same file is chosen again. Loaded when the first file is sent.
import { Upload } from "tus-js-client";

const PART_BYTES = 8 * 2 ** 20;
const RETRY_MS = [0, 1000, 3000, 10_000, 30_000];

// The same file for another dataset or with other options is another upload.
function isSame(one, other) {
  const names = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...names].every((name) => one[name] === other[name]);
}

// Resolves to the address of the whole file, which waits to be checked; `stop` is given a way to break off.
export async function sendInParts(file, { endpoint, token, fields, progress, stop }) {
  const metadata = { ...fields, filename: file.name };
  let finished;
  const done = new Promise((resolve, reject) => (finished = { resolve, reject }));
  const upload = new Upload(file, {
    endpoint,
    chunkSize: PART_BYTES,
    retryDelays: RETRY_MS,
    headers: { "X-CSRFToken": token },
    metadata,
    removeFingerprintOnSuccess: true,
    onProgress: progress,
    onError: finished.reject,
    onSuccess: () => finished.resolve(new URL(upload.url, location).pathname),
  });
  stop(async () => {
    await upload.abort();
    finished.reject(null);
  });
  const earlier = (await upload.findPreviousUploads()).find((each) => isSame(each.metadata, metadata));
  if (earlier) upload.resumeFromPreviousUpload(earlier);
  upload.start();
  return done;
}
