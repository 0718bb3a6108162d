// Resumable uploads with progress and a drop zone. Without this script the form posts the file as usual.

import { followProgress } from "./row_progress.js";

const MIB = 2 ** 20;
const TOKEN = "csrfmiddlewaretoken";

function initUpload(form) {
  const input = form.querySelector("input[type=file]");
  const zone = form.querySelector("[data-upload-zone]");
  const showName = () => showText(form, "name", input.files[0]?.name ?? "");
  form.querySelector("[data-upload-hint]").hidden = false;
  input.addEventListener("change", showName);
  const markDraggedOver = (now) => zone.toggleAttribute("data-over", now);
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    markDraggedOver(true);
  });
  zone.addEventListener("dragleave", () => markDraggedOver(false));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    markDraggedOver(false);
    input.files = event.dataTransfer.files;
    showName();
  });
  form.addEventListener("submit", (event) => {
    if (!input.files.length || !form.checkValidity()) return;
    event.preventDefault();
    sendFile(form, input.files[0]);
  });
}

function showText(form, part, text) {
  form.querySelector(`[data-upload-${part}]`).textContent = text;
}

function setBusy(form, now) {
  form.querySelector("[data-upload-progress]").hidden = !now;
  form.querySelector("button:not([type=button])").disabled = now;
}

const formatSize = (bytes) => (bytes / MIB).toFixed(bytes < 10 * MIB ? 1 : 0);

// Speed and remaining time, from what this page has sent.
function createSpeedometer() {
  let began = null;
  return (sent, total) => {
    began ??= { at: performance.now(), sent };
    const seconds = (performance.now() - began.at) / 1000;
    const rate = (sent - began.sent) / seconds;
    if (seconds < 1 || !(rate > 0)) return "";
    const left = Math.ceil((total - sent) / rate);
    return `, ${formatSize(rate)} MiB/s, about ${left < 90 ? `${left} s` : `${Math.ceil(left / 60)} min`} left`;
  };
}

function showProgress(form, sent, total, describeSpeed) {
  const share = total ? (100 * sent) / total : 100;
  form.querySelector("progress").value = share;
  showText(form, "status", `${Math.floor(share)} %, ${formatSize(sent)} of ${formatSize(total)} MiB sent${describeSpeed(sent, total)}. The sent part is saved.`);
}

function explainError(error) {
  if (error === null) return "Stopped. Upload the same file again to continue.";
  const answer = error.originalResponse;
  if (answer?.getStatus() >= 400 && answer.getStatus() < 500) return answer.getBody() || `The server answered ${answer.getStatus()}.`;
  if (error.originalRequest) return "The connection broke. The sent part is saved. Upload the same file again to continue.";
  return `The upload could not start (${error.message}). Reload the page and try again.`;
}

// Read attributes by name: a field named "dataset" hides the dataset property of its form.
function readFields(form) {
  const texts = [...new FormData(form)].filter(([name, value]) => typeof value === "string" && value && name !== TOKEN);
  return Object.fromEntries(texts);
}

const findToken = (form) => form.querySelector(`[name=${TOKEN}]`);

async function sendFile(form, file) {
  setBusy(form, true);
  showText(form, "name", file.name);
  const describeSpeed = createSpeedometer();
  try {
    const { sendInParts } = await import(form.getAttribute("data-resumable"));
    const url = await sendInParts(file, {
      endpoint: form.getAttribute("data-transfers"),
      token: findToken(form).value,
      fields: readFields(form),
      progress: (sent, total) => showProgress(form, sent, total, describeSpeed),
      stop: (breakOff) => (form.querySelector("[data-upload-stop]").onclick = breakOff),
    });
    showText(form, "status", "Sent. Checking every row…");
    followProgress(`${url}progress/`, form.querySelector("[data-upload-status]"));
    requestCheck(form, `${url}finish/`);
  } catch (error) {
    setBusy(form, false);
    showText(form, "name", explainError(error));
  }
}

// Post a plain form, so that the browser navigates to the report.
function requestCheck(form, url) {
  const asked = Object.assign(document.createElement("form"), { method: "post", action: url, hidden: true });
  asked.append(findToken(form).cloneNode());
  document.body.append(asked);
  asked.submit();
}

document.querySelectorAll("form[data-upload]").forEach(initUpload);
