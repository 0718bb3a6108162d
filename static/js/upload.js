// Uploads with progress, cancel and a drop zone; without it the form is a plain one.

function initUpload(form) {
  const input = form.querySelector("input[type=file]");
  const zone = form.querySelector("[data-upload-zone]");
  const progress = form.querySelector("[data-upload-progress]");
  const status = form.querySelector("[data-upload-status]");
  const button = form.querySelector("button:not([type=button])");
  const named = () => {
    form.querySelector("[data-upload-name]").textContent = input.files[0]?.name ?? "";
  };
  form.querySelector("[data-upload-hint]").hidden = false;
  input.addEventListener("change", named);
  zone.addEventListener("dragover", (event) => event.preventDefault());
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    input.files = event.dataTransfer.files;
    named();
  });
  form.addEventListener("submit", (event) => {
    if (!input.files.length) return;
    event.preventDefault();
    send(form, progress, status, button);
  });
}

function send(form, progress, status, button) {
  const request = new XMLHttpRequest();
  const bar = progress.querySelector("progress");
  const done = () => {
    progress.hidden = true;
    button.disabled = false;
  };
  progress.hidden = false;
  button.disabled = true;
  request.upload.addEventListener("progress", (event) => {
    bar.value = (100 * event.loaded) / event.total;
    status.textContent =
      event.loaded < event.total ? `${Math.round(bar.value)} % sent. Esc cancels.` : "Sent. Checking every row…";
  });
  request.addEventListener("load", () => {
    if (request.responseURL && request.responseURL !== location.href) {
      location.assign(request.responseURL);
      return;
    }
    const answer = new DOMParser().parseFromString(request.responseText, "text/html");
    document.querySelector("main").replaceWith(answer.querySelector("main"));
    initAll();
  });
  request.addEventListener("error", () => {
    done();
    status.textContent = "";
    form.querySelector("[data-upload-name]").textContent =
      "The connection broke; nothing was stored. Try again when you are back online.";
  });
  request.addEventListener("abort", done);
  const cancel = (event) => event.key === "Escape" && request.abort();
  addEventListener("keydown", cancel);
  request.addEventListener("loadend", () => removeEventListener("keydown", cancel));
  request.open("POST", form.action);
  request.send(new FormData(form));
}

function initAll() {
  document.querySelectorAll("form[data-upload]").forEach(initUpload);
}

initAll();
