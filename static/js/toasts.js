// Short messages in the page's one polite live region.
const STAY_MS = 10_000;
const region = document.getElementById("toasts");

// Errors stay until they are dismissed; the rest goes by itself, unless it is being read.
function removeLater(card) {
  if (card.dataset.toast === "error") return;
  const timer = setInterval(() => {
    if (card.matches(":hover, :focus-within")) return;
    clearInterval(timer);
    card.remove();
  }, STAY_MS);
}

// Only what arrives later is read out by itself, so the server's messages are put in anew.
function readAloud() {
  const cards = [...region.querySelectorAll("[data-toast]")];
  cards.forEach((card) => card.remove());
  requestAnimationFrame(() => cards.forEach((card) => (region.append(card), removeLater(card))));
}

export function showToast(text, kind = "info", url = "") {
  const card = document.getElementById(`toast-${kind}`).content.firstElementChild.cloneNode(true);
  const words = card.querySelector("[data-words]");
  if (url) words.append(Object.assign(document.createElement("a"), { className: "link", href: url, textContent: text }));
  else words.textContent = text;
  region.append(card);
  removeLater(card);
}

// Says something to screen readers only.
export function announce(text) {
  document.getElementById("announce").textContent = text;
}

document.body.addEventListener("toast", (event) => showToast(event.detail.text, event.detail.kind));
document.addEventListener("click", (event) => {
  if (event.target.closest?.("[data-dismiss]")) event.target.closest("[data-toast]").remove();
});

const OUTDATED = "This page is out of date. Reload it, then try again.";
const ANSWERS = {
  403: "You may not do this, or you have signed in anew since this page was opened. Reload it, then try again.",
  404: "What this page shows was deleted or moved. Reload it.",
};

function explainFailure(xhr) {
  if (!xhr?.status) return "The server could not be reached. Nothing was changed; try again.";
  return ANSWERS[xhr.status] ?? `The server answered ${xhr.status}. Nothing was changed; try again.`;
}

// What a person asked for and did not get is said; what refreshes by itself tries again in silence.
const ASKED = ["click", "submit", "change", "input", "keydown"];
function showFailure({ detail: { requestConfig, xhr } }, text = explainFailure(xhr)) {
  if (ASKED.includes(requestConfig?.triggeringEvent?.type) && xhr?.status !== 422) showToast(text, "error");
}
document.body.addEventListener("htmx:responseError", (event) => showFailure(event));
document.body.addEventListener("htmx:sendError", (event) => showFailure(event));
// The answer is there and may have had its effect, but has no place on this page any more.
document.body.addEventListener("htmx:onLoadError", (event) => showFailure(event, OUTDATED));
// Before any request, so who asked is not known; what refreshes by itself always has its place.
document.body.addEventListener("htmx:targetError", () => showToast(OUTDATED, "error"));

readAloud();
