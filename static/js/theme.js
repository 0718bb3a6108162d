// Runs before the page is drawn, so that the chosen theme never flashes.
const stored = localStorage.getItem("theme");
if (stored) document.documentElement.dataset.theme = stored;
if (matchMedia("(min-width: 64rem)").matches) {
  document.addEventListener("DOMContentLoaded", () => {
    document.querySelector("[data-sidebar]")?.setAttribute("open", "");
  });
}
