// Runs before the page is drawn, so that the chosen theme never flashes.
const stored = localStorage.getItem("theme");
if (stored) document.documentElement.dataset.theme = stored;
const wide = matchMedia("(min-width: 64rem)");
const openSidebar = () => wide.matches && document.querySelector("[data-sidebar]")?.setAttribute("open", "");
document.addEventListener("DOMContentLoaded", openSidebar);
wide.addEventListener("change", openSidebar);
