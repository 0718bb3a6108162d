// A file in parts (the tus protocol): an interrupted one goes on where it stopped, after a reload too,
// when the same file is chosen again. Loaded when the first file is sent.
import { Upload } from "tus-js-client";

const PART_BYTES = 8 * 2 ** 20;
const RETRY_MS = [0, 1000, 3000, 10_000, 30_000];

// Resolves to the address of the whole file, which waits to be checked; `stop` is given a way to break off.
export async function sendInParts(file, { endpoint, token, fields, progress, stop }) {
  let finished;
  const done = new Promise((resolve, reject) => (finished = { resolve, reject }));
  const upload = new Upload(file, {
    endpoint,
    chunkSize: PART_BYTES,
    retryDelays: RETRY_MS,
    headers: { "X-CSRFToken": token },
    metadata: { ...fields, filename: file.name },
    removeFingerprintOnSuccess: true,
    onProgress: progress,
    onError: finished.reject,
    onSuccess: () => finished.resolve(new URL(upload.url, location).pathname),
  });
  stop(async () => {
    await upload.abort();
    finished.reject(null);
  });
  const [earlier] = await upload.findPreviousUploads();
  if (earlier) upload.resumeFromPreviousUpload(earlier);
  upload.start();
  return done;
}
