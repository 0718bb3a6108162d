// Browser notifications when a job ends, for those who asked for them on their account page.
import { toast } from "./toasts.js";

const EVERY_MS = 20_000;
const LAST = "groove-ended";
const url = document.body.dataset.endedUrl;

function tell({ title, team, url: place, failed }) {
  toast(title, failed ? "error" : "success", place);
  if (!("Notification" in window) || Notification.permission !== "granted") return;
  const shown = new Notification(title, { body: team, tag: place });
  shown.onclick = () => (window.focus(), location.assign(place));
}

// The tabs of one browser share the place they have come to, so each job is told once.
async function look() {
  try {
    const after = localStorage.getItem(LAST) ?? "";
    const answer = await fetch(`${url}?after=${after}`);
    if (!answer.ok) return;
    const { last, ended } = await answer.json();
    if (localStorage.getItem(LAST) !== after && after !== "") return;
    localStorage.setItem(LAST, last);
    ended.forEach(tell);
  } catch {
    // The network is away; the next look comes by itself.
  }
}

if (url) {
  look();
  setInterval(look, EVERY_MS);
}

const ask = document.querySelector("[data-notify-ask]");
const place = document.querySelector("[data-notify-permission]");

function showPermission() {
  const known = "Notification" in window ? Notification.permission : "unsupported";
  ask.hidden = known !== "default";
  place.hidden = known === "default";
  place.textContent = {
    granted: "This browser may show notifications.",
    denied: "This browser was told not to show notifications of Groove; its site settings can allow them.",
    unsupported: "This browser has no notifications here (they need HTTPS or localhost); Groove shows a message on the page instead.",
  }[known] ?? "";
}

if (ask) {
  ask.addEventListener("click", async () => (await Notification.requestPermission(), showPermission()));
  showPermission();
}
