// A form over a grader's JSON. The JSON stays the form's value: every change writes it, and what the form has no
// field for is kept. Without this file the JSON is edited as text.
const TEXT = { control: "input" };
const AREA = { control: "textarea" };
const choice = (...options) => ({ control: "select", options });
const INPUT = ["input", "Answer to grade", AREA];
const REFERENCE = ["reference", "Reference", AREA];
const MODEL = ["model", "Judge", TEXT];
const PROMPT = ["input", "Prompt", { control: "messages" }];
const LINES = { control: "lines" };
const JSON_VALUE = { control: "json" };

const FIELDS = {
  string_check: [INPUT, REFERENCE, ["operation", "Operation", choice("eq", "ne", "like", "ilike")]],
  text_similarity: [
    INPUT,
    REFERENCE,
    [
      "evaluation_metric",
      "Metric",
      choice("fuzzy_match", "bleu", "gleu", "meteor", "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l"),
    ],
  ],
  python: [["source", "Python source", AREA]],
  score_model: [MODEL, PROMPT, ["range", "Range, lowest and highest score", JSON_VALUE]],
  label_model: [MODEL, PROMPT, ["labels", "Labels, one a line", LINES], ["passing_labels", "Passing labels", LINES]],
  json_schema: [
    INPUT,
    ["json_schema", "JSON schema", JSON_VALUE],
    ["fenced", "Accept JSON in a fenced block", { control: "checkbox" }],
    REFERENCE,
    ["fields", "Fields compared with the reference", { control: "compared" }],
  ],
  regex: [INPUT, ["pattern", "Pattern", AREA], ["match", "Match", choice("search", "fullmatch")], REFERENCE],
  math: [INPUT, REFERENCE],
  sql: [INPUT, REFERENCE, ["databases", "Databases, SQL scripts as a JSON list", JSON_VALUE]],
  rubric: [MODEL, PROMPT, ["criteria", "Criteria", JSON_VALUE]],
  ranking: [
    MODEL,
    ["rubric", "What makes an answer better", AREA],
    ["context", "Context", AREA],
    ["method", "Method", choice("listwise", "knockout", "round_robin")],
  ],
  multi: [
    ["graders", "Parts", { control: "parts" }],
    ["calculate_output", "Formula", AREA],
  ],
};
const FORMS = ["score_model", "label_model", "rubric", "ranking", "json_schema", "multi"];
// What a part of a new kind begins with, where its old kind had no such field.
const PLAIN = { input: "{{sample.output_text}}", reference: "{{item.reference}}" };
const JUDGED = { model: "judge", input: [{ role: "user", content: "{{sample.output_text}}" }] };
const STARTS = {
  string_check: { ...PLAIN, operation: "eq" },
  text_similarity: { ...PLAIN, evaluation_metric: "fuzzy_match" },
  python: { source: "def grade(sample, item):\n    return 0.0\n" },
  score_model: JUDGED,
  label_model: { ...JUDGED, labels: ["good", "bad"], passing_labels: ["good"] },
  json_schema: { json_schema: { type: "object" } },
  regex: { pattern: "." },
  math: { reference: PLAIN.reference },
  sql: { reference: PLAIN.reference, databases: ["CREATE TABLE t(a);"] },
  rubric: { ...JUDGED, criteria: [{ name: "good", question: "Is the answer good?" }] },
  ranking: { model: "judge", rubric: "Correct and short." },
};
const NEW_PART = { type: "string_check", ...STARTS.string_check };

// Fields that the new kind does not know would be refused.
function ofKind(type, part) {
  const start = STARTS[type];
  const known = FIELDS[type].map(([key]) => key);
  const kept = Object.entries(part).filter(
    ([key, value]) => known.includes(key) && (!(key in start) || typeof value === typeof start[key]),
  );
  return { type, ...(part.name ? { name: part.name } : {}), ...start, ...Object.fromEntries(kept) };
}
const OPTIONAL = ["input", "reference", "context"];
let ids = 0;

function element(name, values = {}, ...children) {
  const made = Object.assign(document.createElement(name), values);
  made.append(...children);
  return made;
}

function labelled(text, control, hint = "") {
  control.id = `grader-form-${(ids += 1)}`;
  const label = element("label", { htmlFor: control.id, className: "text-sm font-medium", textContent: text });
  const problem = element("p", { className: "text-error text-sm", textContent: hint });
  problem.setAttribute("role", "alert");
  return element("div", { className: "space-y-1" }, label, control, problem);
}

function textControl(kind, value, write) {
  const long = kind === "textarea";
  const className = long ? "textarea w-full font-mono text-sm" : "input w-full";
  const control = element(long ? "textarea" : "input", { className, value: value ?? "" });
  if (long) control.rows = Math.min(12, Math.max(2, control.value.split("\n").length + 1));
  control.addEventListener("input", () => write(control.value));
  return control;
}

function button(text, act, label = text) {
  const made = element("button", { type: "button", className: "btn btn-xs", textContent: text });
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

// Each control gets the value, a function that stores another one, and one that draws the form anew.
const CONTROLS = {
  input: (label, value, write) => labelled(label, textControl("input", value, write)),
  textarea: (label, value, write) => labelled(label, textControl("textarea", value, write)),
  select(label, value, write, _, { options }) {
    const control = element("select", { className: "select w-full" });
    for (const option of new Set([...options, ...(value ? [value] : [])])) control.append(new Option(option, option));
    control.value = value ?? options[0];
    control.addEventListener("change", () => write(control.value));
    return labelled(label, control);
  },
  checkbox(label, value, write) {
    const control = element("input", { type: "checkbox", className: "checkbox checkbox-sm", checked: Boolean(value) });
    control.addEventListener("change", () => write(control.checked || undefined));
    return element("label", { className: "flex items-center gap-2 text-sm" }, control, label);
  },
  lines: (label, value, write) =>
    labelled(
      label,
      textControl("textarea", (value ?? []).join("\n"), (text) => write(text.split("\n").filter((line) => line))),
    ),
  json(label, value, write) {
    const box = labelled(
      label,
      textControl("textarea", value === undefined ? "" : JSON.stringify(value, null, 2), (text) => {
        const problem = box.querySelector("[role=alert]");
        problem.textContent = "";
        try {
          write(text.trim() ? JSON.parse(text) : undefined);
        } catch (error) {
          problem.textContent = `Not JSON, so not applied yet: ${error.message}`;
        }
      }),
    );
    return box;
  },
  messages(label, value, write, redraw) {
    let messages = Array.isArray(value) ? value : [];
    const keep = (changed) => write((messages = changed));
    const box = element("fieldset", { className: "space-y-2" }, element("legend", { className: "text-sm font-medium", textContent: label }));
    messages.forEach((message, at) => {
      const store = (part) => keep(messages.map((each, other) => (other === at ? { ...each, ...part } : each)));
      const plain = typeof message.content === "string";
      const role = CONTROLS.select("Role", message.role, (text) => store({ role: text }), redraw, choice("system", "developer", "user", "assistant"));
      const content = plain ? CONTROLS.textarea : CONTROLS.json;
      const remove = button("Remove", () => (keep(messages.filter((_, other) => other !== at)), redraw()), `Remove message ${at + 1}`);
      const part = content(`Message ${at + 1}`, message.content, (text) => store({ content: text }));
      box.append(element("div", { className: "border-base-300 space-y-2 border-l-2 pl-3" }, role, part, remove));
    });
    const added = { role: "user", content: "{{sample.output_text}}" };
    box.append(button("Add message", () => (keep([...messages, added]), redraw())));
    return box;
  },
  compared(label, value, write, redraw) {
    let fields = value ?? {};
    const keep = (changed) => write((fields = changed));
    const box = element("fieldset", { className: "space-y-2" }, element("legend", { className: "text-sm font-medium", textContent: label }));
    const renamed = (from, to) => Object.fromEntries(Object.entries(fields).map(([k, v]) => [k === from ? to : k, v]));
    for (const [path, field] of Object.entries(fields)) {
      const store = (part) => keep({ ...fields, [path]: { ...fields[path], ...part } });
      const name = textControl("input", path, () => {});
      name.addEventListener("change", () => (keep(renamed(path, name.value)), redraw()));
      const number = (key, text) => CONTROLS.input(text, field[key], (typed) => store({ [key]: typed === "" ? undefined : Number(typed) }));
      const remove = () => (keep(Object.fromEntries(Object.entries(fields).filter(([key]) => key !== path))), redraw());
      box.append(
        element(
          "div",
          { className: "grid items-end gap-2 sm:grid-cols-4" },
          labelled("Path", name),
          CONTROLS.select("Comparison", field.compare, (text) => store({ compare: text }), redraw, choice("exact", "text", "number", "fuzzy")),
          number("tolerance", "Tolerance"),
          number("weight", "Weight"),
          button("Remove", remove, `Remove field ${path}`),
        ),
      );
    }
    box.append(button("Add field", () => (keep({ ...fields, [`field_${Object.keys(fields).length + 1}`]: {} }), redraw())));
    return box;
  },
  parts(label, value, write, redraw) {
    const listed = Array.isArray(value);
    let parts = listed ? value.map((part) => [part.name, part]) : Object.entries(value ?? {});
    const store = (entries) => {
      parts = entries;
      write(listed ? entries.map(([name, part]) => ({ ...part, name })) : Object.fromEntries(entries));
    };
    const box = element("fieldset", { className: "space-y-4" }, element("legend", { className: "text-sm font-medium", textContent: label }));
    parts.forEach(([name, part], at) => {
      const replaced = (entry) => store(parts.map((each, other) => (other === at ? entry : each)));
      const title = textControl("input", name, () => {});
      title.addEventListener("change", () => (replaced([title.value, part]), redraw()));
      const kinds = Object.keys(FIELDS).filter((kind) => kind !== "multi");
      const kind = CONTROLS.select("Kind", part.type, (type) => (replaced([name, ofKind(type, part)]), redraw()), redraw, choice(...kinds));
      const inner = draw(part, (changed) => replaced([name, changed]), redraw);
      const remove = button("Remove", () => (store(parts.filter((_, other) => other !== at)), redraw()), `Remove part ${name}`);
      box.append(element("div", { className: "border-base-300 space-y-2 border-l-2 pl-3" }, labelled("Name in the formula", title), kind, inner, remove));
    });
    box.append(button("Add part", () => (store([...parts, [`part_${parts.length + 1}`, NEW_PART]]), redraw())));
    return box;
  },
};

// ``change`` gets the whole definition anew at every edit.
function draw(definition, change, redraw) {
  const current = definition;
  const box = element("div", { className: "space-y-3" });
  for (const [key, label, field] of FIELDS[definition.type] ?? []) {
    const write = (value) => {
      if (value === undefined || (value === "" && OPTIONAL.includes(key))) delete current[key];
      else current[key] = value;
      change(current);
    };
    box.append(CONTROLS[field.control](label, current[key], write, redraw, field));
  }
  return box;
}

function parsed(textarea) {
  try {
    const definition = JSON.parse(textarea.value);
    return FORMS.includes(definition?.type) ? definition : null;
  } catch {
    return null;
  }
}

// Two buttons choose between the form and the JSON; the form is shown first where there is one.
export function initGraderForm(textarea, editor) {
  if (textarea.readOnly || !textarea.closest("[data-grader-bench]") || !parsed(textarea)) return;
  const panel = element("div", { className: "panel space-y-3" });
  const say = element("p", { className: "text-error text-sm" });
  say.setAttribute("role", "status");
  const write = (definition) => {
    textarea.value = JSON.stringify(definition, null, 2);
    textarea.dispatchEvent(new Event("replaced"));
    textarea.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const redraw = () => {
    const definition = parsed(textarea);
    if (definition) panel.replaceChildren(draw(definition, write, redraw));
    return Boolean(definition);
  };
  const buttons = ["Form", "JSON"].map((name) => element("button", { type: "button", className: "btn btn-sm join-item", textContent: name }));
  const show = (asForm) => {
    const drawn = asForm && redraw();
    say.textContent = asForm && !drawn ? "The JSON has an error or another kind: correct it here first." : "";
    panel.hidden = !drawn;
    editor.hidden = drawn;
    buttons.forEach((each, at) => {
      each.setAttribute("aria-pressed", String(drawn === (at === 0)));
      each.classList.toggle("btn-active", drawn === (at === 0));
    });
  };
  buttons.forEach((each, at) => each.addEventListener("click", () => show(at === 0)));
  const views = element("div", { className: "join mb-2" }, ...buttons);
  views.setAttribute("role", "group");
  views.setAttribute("aria-label", "Edit as");
  editor.before(views, say, panel);
  show(true);
}
