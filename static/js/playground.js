// The playground: sends one prompt to each model, shows the answers as they arrive, has them graded.
import { createParser } from "eventsource-parser";
import { buildCurl, buildPython } from "./playground_code.js";

const TEXTS = ["system", "prompt", "schema"];
const NUMBERS = { temperature: "temperature", top_p: "top_p", max_tokens: "max_completion_tokens", seed: "seed" };
const RELOADING = ["model_1", "model_2", "model_3", "dataset", "split", "row", "grader"];
const TOP_LOGPROBS = 4;
// Stored, so that thumbs and corrections have a place. A member's own prompts may train.
const KEPT = { store: true, metadata: { workload: "playground", consent: "train" } };

const form = document.getElementById("playground");
const cards = [...form.querySelectorAll("[data-answer]")];
const isConnected = (card) => card.hasAttribute("data-connected"); // to an endpoint: its answers are not kept
const running = new Map(); // card -> AbortController
const csrf = () => document.querySelector("meta[name=csrf-token]").content;
// Attributes, because the form has a field named dataset.
const readSetting = (name) => form.getAttribute(`data-${name}`);
const readValue = (name) => form.elements.namedItem(name)?.value ?? "";
const readText = (id) => document.getElementById(id)?.value ?? "";
const readJson = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "null");
const show = (element, visible) => (element.hidden = !visible);

// Texts survive the reload that another model or row needs; they are in no address.
function keepTexts() {
  for (const id of TEXTS) {
    const field = document.getElementById(id);
    if (!field) continue;
    field.value ||= sessionStorage.getItem(`playground:${id}`) ?? "";
    field.addEventListener("input", () => sessionStorage.setItem(`playground:${id}`, field.value));
  }
}

function keepAddress() {
  const kept = [...new FormData(form)].filter(([name, value]) => name !== "csrfmiddlewaretoken" && value !== "");
  history.replaceState(null, "", `?${new URLSearchParams(kept)}`);
}

function readMessages() {
  const row = readJson("row-messages");
  if (row) return row;
  const system = readText("system").trim();
  const user = { role: "user", content: readText("prompt") };
  return system ? [{ role: "system", content: system }, user] : [user];
}

function readFormat() {
  const text = readText("schema").trim();
  if (!text) return {};
  let schema;
  try {
    schema = JSON.parse(text);
  } catch (error) {
    throw new Error(`The schema is not JSON: ${error.message}`);
  }
  return { response_format: { type: "json_schema", json_schema: { name: "answer", schema } } };
}

function buildBody(model) {
  const numbers = Object.entries(NUMBERS).filter(([name]) => readValue(name) !== "");
  const tools = readJson("row-tools");
  return {
    model,
    messages: readMessages(),
    ...Object.fromEntries(numbers.map(([name, field]) => [field, Number(readValue(name))])),
    ...(tools?.length ? { tools } : {}),
    ...(form.elements.namedItem("logprobs").checked ? { logprobs: true, top_logprobs: TOP_LOGPROBS } : {}),
    ...readFormat(),
  };
}

async function post(url, values, signal) {
  const headers = { "X-CSRFToken": csrf() };
  return fetch(url, { method: "POST", headers, body: new URLSearchParams(values), signal });
}

async function readProblem(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server answered ${response.status}. Try again.`;
  }
}

async function readEvents(response, onEvent) {
  const parser = createParser({ onEvent: (event) => event.data !== "[DONE]" && onEvent(JSON.parse(event.data)) });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) parser.feed(part.value);
}

const formatShare = (logprob) => `${(100 * Math.exp(logprob)).toFixed(1)} %`;
const describeToken = (token) =>
  [token, ...token.top_logprobs.filter((other) => other.token !== token.token)]
    .map((each) => `${JSON.stringify(each.token)} ${formatShare(each.logprob)}`)
    .join("\n");

// Each token's ground is the paler the surer the model was.
function createToken(token) {
  const span = document.createElement("span");
  span.className = "token";
  span.style.setProperty("--doubt", 1 - Math.exp(token.logprob));
  span.title = describeToken(token);
  span.textContent = token.token;
  return span;
}

function addDelta(card, choice) {
  const text = card.querySelector("[data-text]");
  const tokens = choice.logprobs?.content ?? [];
  if (tokens.length) text.append(...tokens.map(createToken));
  else if (choice.delta.content) text.append(choice.delta.content);
  for (const call of choice.delta.tool_calls ?? []) {
    text.append(call.function.name ? `${call.function.name} ` : "", call.function.arguments ?? "");
  }
}

function describeFacts(usage, finish, seconds) {
  const reasons = { length: "cut off", tool_calls: "calls a tool" };
  const tokens = usage ? `${usage.completion_tokens} tokens` : "";
  return [tokens, `${seconds.toFixed(1)} s`, reasons[finish] ?? ""].filter(Boolean).join(" · ");
}

async function receive(card, response) {
  const began = performance.now();
  let usage = null;
  let finish = null;
  await readEvents(response, (chunk) => {
    if (chunk.error) throw new Error(chunk.error.message);
    card.dataset.completion = chunk.id;
    usage = chunk.usage ?? usage;
    for (const choice of chunk.choices) {
      addDelta(card, choice);
      finish = choice.finish_reason ?? finish;
    }
  });
  card.querySelector("[data-facts]").textContent = describeFacts(usage, finish, (performance.now() - began) / 1000);
}

function prepare(card) {
  card.querySelector("[data-text]").replaceChildren();
  card.querySelector("[data-facts]").textContent = "Waiting for the model…";
  card.querySelector("[data-verdict]").replaceChildren();
  show(card.querySelector("[data-actions]"), false);
  for (const thumb of card.querySelectorAll("[data-thumb]")) thumb.setAttribute("aria-pressed", "false");
}

function showFailure(card, error) {
  const stopped = error.name === "AbortError";
  const note = document.createElement("p");
  note.className = stopped ? "text-muted" : "text-error";
  note.textContent = stopped ? "Stopped." : error.message;
  card.querySelector("[data-facts]").replaceChildren(note);
}

async function run(card) {
  running.get(card)?.abort();
  const controller = new AbortController();
  running.set(card, controller);
  prepare(card);
  showRunning();
  try {
    const body = { ...buildBody(card.dataset.model), stream: true, stream_options: { include_usage: true }, ...(isConnected(card) ? {} : KEPT) };
    const response = await post(readSetting("complete"), { body: JSON.stringify(body) }, controller.signal);
    if (!response.ok) throw new Error(await readProblem(response));
    await receive(card, response);
    finishAnswer(card);
  } catch (error) {
    showFailure(card, error);
  } finally {
    if (running.get(card) === controller) running.delete(card);
    showRunning();
  }
}

function finishAnswer(card) {
  show(card.querySelector("[data-actions]"), true);
  const link = card.querySelector("[data-interaction]");
  link.href = buildInteractionUrl(card);
  show(link, !isConnected(card));
  if (readSetting("grade") && readValue("dataset") && readValue("grader")) requestVerdict(card);
}

function requestVerdict(card) {
  const values = { answer: card.querySelector("[data-text]").textContent };
  for (const name of ["dataset", "split", "row", "grader"]) values[name] = readValue(name);
  window.htmx.ajax("POST", readSetting("grade"), { target: card.querySelector("[data-verdict]"), swap: "innerHTML", values });
}

const showRunning = () => show(form.querySelector("[data-stop]"), running.size > 0);

function runAll() {
  const problem = form.querySelector("[data-problem]");
  problem.textContent = "";
  const prompt = document.getElementById("prompt");
  if (prompt && !prompt.value.trim()) {
    problem.textContent = "Type a prompt first.";
    prompt.focus();
    return;
  }
  try {
    readFormat();
  } catch (error) {
    problem.textContent = error.message;
    return;
  }
  for (const card of cards) run(card);
}

function showCode() {
  const address = readSetting("api");
  const card = cards.find((each) => !isConnected(each)); // the API does not pass requests on to endpoints
  show(form.querySelector("[data-code-panel]"), Boolean(card));
  if (!card) return;
  let body;
  try {
    body = buildBody(card.dataset.model);
  } catch {
    return; // the schema is being typed
  }
  form.querySelector("[data-code=python]").textContent = buildPython(address, body);
  form.querySelector("[data-code=curl]").textContent = buildCurl(address, body);
}

const buildInteractionUrl = (card) => `${readSetting("interactions")}${card.dataset.completion}/`;

async function giveThumb(card, thumb) {
  const value = thumb.dataset.thumb;
  const response = await post(`${buildInteractionUrl(card)}thumb/`, { thumb: value });
  if (!response.ok) {
    const reason = response.status === 404 ? "This answer was not kept: the rules of Interactions say what is." : await readProblem(response);
    return showFailure(card, new Error(reason));
  }
  for (const each of card.querySelectorAll("[data-thumb]")) {
    each.setAttribute("aria-pressed", String(each.dataset.thumb === value));
  }
}

form.addEventListener("click", (event) => {
  const card = event.target.closest("[data-answer]");
  const thumb = event.target.closest("[data-thumb]");
  if (event.target.closest("[data-run]")) runAll();
  if (event.target.closest("[data-stop]")) for (const controller of running.values()) controller.abort();
  if (event.target.closest("[data-again]")) run(card);
  if (thumb) giveThumb(card, thumb);
});
form.addEventListener("change", (event) => {
  keepAddress();
  if (RELOADING.includes(event.target.name)) form.requestSubmit();
});
form.addEventListener("input", showCode);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) runAll();
});
keepTexts();
showCode();
