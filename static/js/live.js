// One stream of server-sent events a page. Each event becomes `live:<kind>` on the body, where charts
// listen and htmx triggers fragments. The browser resumes by Last-Event-ID, so no point is lost.
const KINDS = [
  "state", "request", "phase", "progress", "metrics", "rollouts", "checkpoint", "evaluation", "retention", "preflight",
  "alarm", "log", "error", "rewind",
];

// Fragments that would be fetched too often listen to `calm:<kind>`: told at once, then no oftener than this,
// and never robbed of the last. (htmx's own `throttle` drops the last, and mutes the element's other triggers.)
const CALM_MS = { metrics: 3000, progress: 1000, log: 1000, rollouts: 1000 };

function emitCalmEvents(kind, pause) {
  let resting = false;
  let missed = false;
  function emit() {
    missed = false;
    resting = true;
    setTimeout(() => {
      resting = false;
      if (missed) emit();
    }, pause);
    document.body.dispatchEvent(new CustomEvent(`calm:${kind}`));
  }
  document.body.addEventListener(`live:${kind}`, () => {
    if (resting) missed = true;
    else emit();
  });
}

function showStatus(text) {
  const status = document.querySelector("[data-live-status]");
  if (status) status.textContent = text;
}

const FIRST_RETRY_MS = 2000;
const LAST_RETRY_MS = 30_000;
const SILENCE_MS = 3000;
const PARK_MS = 60_000; // a browser opens six connections to a host: tabs that nobody sees give theirs back

// The browser reconnects by itself after a lost connection, but not after an answer such as a proxy's 502.
// A short break is not worth a word; after a longer one the status says that the page is waiting.
function followStream(url, wait = FIRST_RETRY_MS) {
  const source = new EventSource(url);
  const seen = new AbortController();
  let cursor = null;
  let silence = null;
  let parked = null;
  const buildResumeUrl = () => {
    const left = new URL(url, location);
    if (cursor) left.searchParams.set("after", cursor);
    return left;
  };
  const stopWatching = () => {
    seen.abort();
    clearTimeout(parked);
    clearTimeout(silence);
  };
  const parkStream = () => {
    source.close();
    stopWatching();
    document.addEventListener("visibilitychange", () => followStream(buildResumeUrl()), { once: true });
  };
  const scheduleParking = () => {
    clearTimeout(parked);
    if (document.hidden) parked = setTimeout(parkStream, PARK_MS);
  };
  document.addEventListener("visibilitychange", scheduleParking, { signal: seen.signal });
  scheduleParking();
  source.onopen = () => {
    clearTimeout(silence);
    silence = null;
    wait = FIRST_RETRY_MS;
    showStatus("Live");
  };
  source.onerror = (event) => {
    if (event.data !== undefined) return;
    silence ??= setTimeout(() => showStatus("Reconnecting…"), SILENCE_MS);
    if (source.readyState !== EventSource.CLOSED) return;
    stopWatching();
    showStatus("Reconnecting…");
    setTimeout(() => followStream(buildResumeUrl(), Math.min(2 * wait, LAST_RETRY_MS)), wait);
  };
  for (const kind of KINDS) {
    source.addEventListener(kind, (event) => {
      if (event.data === undefined) return; // a lost connection is an "error" event too
      cursor = event.lastEventId;
      document.body.dispatchEvent(new CustomEvent(`live:${kind}`, { detail: JSON.parse(event.data) }));
    });
  }
  source.addEventListener("end", () => {
    source.close();
    stopWatching();
    showStatus("");
    document.body.dispatchEvent(new CustomEvent("live:end"));
  });
}

for (const [kind, pause] of Object.entries(CALM_MS)) emitCalmEvents(kind, pause);
// What is new is offered, not thrown at somebody who reads.
for (const element of document.querySelectorAll("[data-live-news]")) {
  for (const kind of element.dataset.liveNews.split(" ")) {
    document.body.addEventListener(`live:${kind}`, () => (element.hidden = false));
  }
}
for (const element of document.querySelectorAll("[data-live-url]")) followStream(element.dataset.liveUrl);
