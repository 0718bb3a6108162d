// Resumable uploads with progress and a drop zone. Without this script the form posts the file as usual.

import { followProgress } from "./row_progress.js";

const MIB = 2 ** 20;
const TOKEN = "csrfmiddlewaretoken";

function initUpload(form) {
  const input = form.querySelector("input[type=file]");
  const zone = form.querySelector("[data-upload-zone]");
  const named = () => say(form, "name", input.files[0]?.name ?? "");
  form.querySelector("[data-upload-hint]").hidden = false;
  input.addEventListener("change", named);
  const over = (now) => zone.toggleAttribute("data-over", now);
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  zone.addEventListener("dragleave", () => over(false));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    input.files = event.dataTransfer.files;
    named();
  });
  form.addEventListener("submit", (event) => {
    if (!input.files.length || !form.checkValidity()) return;
    event.preventDefault();
    send(form, input.files[0]);
  });
}

function say(form, place, text) {
  form.querySelector(`[data-upload-${place}]`).textContent = text;
}

function busy(form, now) {
  form.querySelector("[data-upload-progress]").hidden = !now;
  form.querySelector("button:not([type=button])").disabled = now;
}

const size = (bytes) => (bytes / MIB).toFixed(bytes < 10 * MIB ? 1 : 0);

// Speed and remaining time, from what this page has sent.
function pace() {
  let began = null;
  return (sent, total) => {
    began ??= { at: performance.now(), sent };
    const seconds = (performance.now() - began.at) / 1000;
    const rate = (sent - began.sent) / seconds;
    if (seconds < 1 || !(rate > 0)) return "";
    const left = Math.ceil((total - sent) / rate);
    return `, ${size(rate)} MiB/s, about ${left < 90 ? `${left} s` : `${Math.ceil(left / 60)} min`} left`;
  };
}

function show(form, sent, total, paced) {
  const share = total ? (100 * sent) / total : 100;
  form.querySelector("progress").value = share;
  say(form, "status", `${Math.floor(share)} %, ${size(sent)} of ${size(total)} MiB sent${paced(sent, total)}. The sent part is saved.`);
}

function reasonOf(error) {
  if (error === null) return "Stopped. Upload the same file again to continue.";
  const answer = error.originalResponse;
  if (answer?.getStatus() >= 400 && answer.getStatus() < 500) return answer.getBody() || `The server answered ${answer.getStatus()}.`;
  if (error.originalRequest) return "The connection broke. The sent part is saved. Upload the same file again to continue.";
  return `The upload could not start (${error.message}). Reload the page and try again.`;
}

// Read attributes by name: a field named "dataset" hides the dataset property of its form.
function filledFields(form) {
  const texts = [...new FormData(form)].filter(([name, value]) => typeof value === "string" && value && name !== TOKEN);
  return Object.fromEntries(texts);
}

const tokenOf = (form) => form.querySelector(`[name=${TOKEN}]`);

async function send(form, file) {
  busy(form, true);
  say(form, "name", file.name);
  const paced = pace();
  try {
    const { sendInParts } = await import(form.getAttribute("data-resumable"));
    const address = await sendInParts(file, {
      endpoint: form.getAttribute("data-transfers"),
      token: tokenOf(form).value,
      fields: filledFields(form),
      progress: (sent, total) => show(form, sent, total, paced),
      stop: (breakOff) => (form.querySelector("[data-upload-stop]").onclick = breakOff),
    });
    say(form, "status", "Sent. Checking every row…");
    followProgress(`${address}progress/`, form.querySelector("[data-upload-status]"));
    check(form, `${address}finish/`);
  } catch (error) {
    busy(form, false);
    say(form, "name", reasonOf(error));
  }
}

// Post a plain form, so that the browser navigates to the report.
function check(form, address) {
  const asked = Object.assign(document.createElement("form"), { method: "post", action: address, hidden: true });
  asked.append(tokenOf(form).cloneNode());
  document.body.append(asked);
  asked.submit();
}

document.querySelectorAll("form[data-upload]").forEach(initUpload);
