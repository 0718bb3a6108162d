// Browser notifications when a job ends, for those who asked for them on their account page.
import { showToast } from "./toasts.js";

const EVERY_MS = 20_000;
const LAST = "groove-ended";
const url = document.body.dataset.endedUrl;

function notifyOfEnd({ title, team, url: jobUrl, failed }) {
  showToast(title, failed ? "error" : "success", jobUrl);
  if (!("Notification" in window) || Notification.permission !== "granted") return;
  const shown = new Notification(title, { body: team, tag: jobUrl });
  shown.onclick = () => (window.focus(), location.assign(jobUrl));
}

// The tabs of one browser share the cursor, so that each job is announced once.
async function fetchEnded() {
  try {
    const after = localStorage.getItem(LAST) ?? "";
    const response = await fetch(`${url}?after=${after}`);
    if (!response.ok) return;
    const { last, ended } = await response.json();
    if (localStorage.getItem(LAST) !== after && after !== "") return;
    localStorage.setItem(LAST, last);
    ended.forEach(notifyOfEnd);
  } catch {
    // The network is away; the next request comes by itself.
  }
}

if (url) {
  fetchEnded();
  setInterval(fetchEnded, EVERY_MS);
}

const ask = document.querySelector("[data-notify-ask]");
const permissionStatus = document.querySelector("[data-notify-permission]");

function showPermission() {
  const known = "Notification" in window ? Notification.permission : "unsupported";
  ask.hidden = known !== "default";
  permissionStatus.hidden = known === "default";
  permissionStatus.textContent = {
    granted: "This browser may show notifications.",
    denied: "This browser was told not to show notifications of Groove; its site settings can allow them.",
    unsupported: "This browser has no notifications here (they need HTTPS or localhost); Groove shows a message on the page instead.",
  }[known] ?? "";
}

if (ask) {
  ask.addEventListener("click", async () => (await Notification.requestPermission(), showPermission()));
  showPermission();
}
