// Sends a file in parts (the tus protocol). An interrupted upload continues when the same file is chosen
// again, also after a reload. Loaded when the first file is sent.
import { Upload } from "tus-js-client";

const PART_BYTES = 8 * 2 ** 20;
const RETRY_MS = [0, 1000, 3000, 10_000, 30_000];

// The same file with another dataset or other options is another upload.
function isSame(one, other) {
  const names = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...names].every((name) => one[name] === other[name]);
}

// Resolves to the URL of the complete file, which is not checked yet. `stop` receives a function that aborts.
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
