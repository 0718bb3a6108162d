// Progress of a slow form: ask the server once a second until the next page loads.
const EVERY_MS = 1000;

export function followProgress(address, place) {
  const first = place.textContent;
  const timer = setInterval(async () => {
    const answer = await fetch(address).catch(() => null);
    place.textContent = (answer?.ok && (await answer.text())) || first;
  }, EVERY_MS);
  addEventListener("pagehide", () => clearInterval(timer), { once: true });
}

document.addEventListener("submit", (event) => {
  const address = event.target.getAttribute("data-progress");
  if (!address || event.defaultPrevented) return;
  followProgress(address, event.target.querySelector("[data-progress-text]"));
});
