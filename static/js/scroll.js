// Back and forward over URLs that htmx pushed load the page anew, so that its filters are right; this restores
// the scroll position, too. The browser itself does that for ordinary links.
const RETURNING = "returning";
const buildKey = (url) => `scroll ${url}`;
let url = location.href;

const rememberScroll = () => sessionStorage.setItem(buildKey(url), scrollY);

document.body.addEventListener("htmx:beforeHistorySave", rememberScroll);
document.body.addEventListener("htmx:pushedIntoHistory", () => (url = location.href));
addEventListener("popstate", () => {
  rememberScroll();
  sessionStorage.setItem(RETURNING, location.href);
  history.scrollRestoration = "manual";
});

if (sessionStorage.getItem(RETURNING) === url) {
  scrollTo(0, Number(sessionStorage.getItem(buildKey(url)) ?? 0));
  addEventListener("pagehide", () => (history.scrollRestoration = "auto"));
}
sessionStorage.removeItem(RETURNING);
