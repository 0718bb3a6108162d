// Back and forward over addresses that htmx pushed load the page anew, so its filters are right; this brings
// the place on the page back, too. The browser itself does that for ordinary links.
const RETURNING = "returning";
const key = (address) => `scroll ${address}`;
let address = location.href;

const remember = () => sessionStorage.setItem(key(address), scrollY);

document.body.addEventListener("htmx:beforeHistorySave", remember);
document.body.addEventListener("htmx:pushedIntoHistory", () => (address = location.href));
addEventListener("popstate", () => {
  remember();
  sessionStorage.setItem(RETURNING, location.href);
  history.scrollRestoration = "manual";
});

if (sessionStorage.getItem(RETURNING) === address) {
  scrollTo(0, Number(sessionStorage.getItem(key(address)) ?? 0));
  addEventListener("pagehide", () => (history.scrollRestoration = "auto"));
}
sessionStorage.removeItem(RETURNING);
