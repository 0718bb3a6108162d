// Progress of a slow form: ask the server once a second until the next page loads.
const EVERY_MS = 1000;

export function followProgress(url, output) {
  const first = output.textContent;
  const timer = setInterval(async () => {
    const response = await fetch(url).catch(() => null);
    output.textContent = (response?.ok && (await response.text())) || first;
  }, EVERY_MS);
  addEventListener("pagehide", () => clearInterval(timer), { once: true });
}

document.addEventListener("submit", (event) => {
  const url = event.target.getAttribute("data-progress");
  if (!url || event.defaultPrevented) return;
  followProgress(url, event.target.querySelector("[data-progress-text]"));
});
