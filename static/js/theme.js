// Runs before the page is drawn, so that the chosen theme never flashes.
const stored = localStorage.getItem("theme");
if (stored) document.documentElement.dataset.theme = stored;
document.documentElement.classList.add("js");
