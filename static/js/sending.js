// A form that htmx sends with a file shows its progress: `[data-sent]` inside it holds a progress bar and a text.
const MIB = 2 ** 20;

document.addEventListener("htmx:xhr:progress", ({ target, detail }) => {
  const status = target.querySelector?.("[data-sent]");
  const bar = status?.querySelector("progress");
  if (!bar || !detail.lengthComputable || detail.total < bar.max) return; // the response's own bytes are reported, too
  status.hidden = false;
  bar.max = detail.total;
  bar.value = detail.loaded;
  const done = detail.loaded === detail.total;
  const formatMib = (bytes) => (bytes / MIB).toFixed(1);
  status.querySelector("[role=status]").textContent =
    done ? "Sent. Checking it…" : `${formatMib(detail.loaded)} of ${formatMib(detail.total)} MiB sent`;
});
