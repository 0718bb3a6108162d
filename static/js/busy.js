// A form is sent once: a second press before the next page is there would launch, invite or delete twice.
const PATIENCE_MS = 20_000; // a load that was stopped, or an answer that is a file, leaves the page as it was
const sent = new Map();

function releaseForm(form) {
  sent.get(form)?.removeAttribute("aria-busy");
  sent.delete(form);
}

// While the server tells how far it is, the button stays busy.
function expireForm(form) {
  if (form.querySelector("[data-progress-text]")?.textContent) setTimeout(expireForm, PATIENCE_MS, form);
  else releaseForm(form);
}

const isPost = (form, button) => /^post$/i.test(button?.getAttribute("formmethod") ?? form.getAttribute("method"));

document.addEventListener("submit", (event) => {
  const { target: form, submitter: button } = event;
  if (event.defaultPrevented || !isPost(form, button)) return;
  if (sent.has(form)) return event.preventDefault();
  sent.set(form, button);
  button?.setAttribute("aria-busy", "true");
  setTimeout(expireForm, PATIENCE_MS, form);
});

// Back may show the page as it was left.
addEventListener("pageshow", () => [...sent.keys()].forEach(releaseForm));
