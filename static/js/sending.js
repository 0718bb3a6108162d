// A form that htmx sends with a file says how far it is: `[data-sent]` inside it holds a progress bar and words.
const MIB = 2 ** 20;

document.addEventListener("htmx:xhr:progress", ({ target, detail }) => {
  const place = target.querySelector?.("[data-sent]");
  const bar = place?.querySelector("progress");
  if (!bar || !detail.lengthComputable || detail.total < bar.max) return; // the answer's own bytes are told, too
  place.hidden = false;
  bar.max = detail.total;
  bar.value = detail.loaded;
  const done = detail.loaded === detail.total;
  const mib = (bytes) => (bytes / MIB).toFixed(1);
  place.querySelector("[role=status]").textContent =
    done ? "Sent. Checking it…" : `${mib(detail.loaded)} of ${mib(detail.total)} MiB sent`;
});
