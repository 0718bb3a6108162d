// A form over a grader's JSON. The JSON stays the form's value: every change writes it, and what the form has no
// field for is kept. Without this file the JSON is edited as text.

// The kinds of graders by type, as workers/grading/kinds describes them: {fields, has_form, example}.
const KINDS = JSON.parse(document.getElementById("grader-kinds")?.textContent ?? "{}");
const buildOptions = (...options) => ({ options });

// The kind's example with what the old part has for the same fields; the new kind would refuse others.
function makePart(type, part) {
  const { name, ...start } = KINDS[type].example;
  const known = KINDS[type].fields.map(({ key }) => key);
  const kept = Object.entries(part).filter(
    ([key, value]) => known.includes(key) && (!(key in start) || typeof value === typeof start[key]),
  );
  return { ...start, ...(part.name ? { name: part.name } : {}), ...Object.fromEntries(kept) };
}

const OPTIONAL = ["input", "reference", "context"];
let ids = 0;

function createElement(name, values = {}, ...children) {
  const made = Object.assign(document.createElement(name), values);
  made.append(...children);
  return made;
}

function addLabel(text, control, hint = "") {
  control.id = `grader-form-${(ids += 1)}`;
  const label = createElement("label", { htmlFor: control.id, className: "text-sm font-medium", textContent: text });
  const problem = createElement("p", { className: "text-error text-sm", textContent: hint });
  problem.setAttribute("role", "alert");
  return createElement("div", { className: "space-y-1" }, label, control, problem);
}

function createTextControl(kind, value, write) {
  const long = kind === "textarea";
  const className = long ? "textarea w-full font-mono text-sm" : "input w-full";
  const control = createElement(long ? "textarea" : "input", { className, value: value ?? "" });
  if (long) control.rows = Math.min(12, Math.max(2, control.value.split("\n").length + 1));
  control.addEventListener("input", () => write(control.value));
  return control;
}

function createButton(text, act, label = text) {
  const made = createElement("button", { type: "button", className: "btn btn-xs", textContent: text });
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

// Each control gets the value, a function that stores another one, and one that draws the form anew.
const CONTROLS = {
  input: (label, value, write) => addLabel(label, createTextControl("input", value, write)),
  textarea: (label, value, write) => addLabel(label, createTextControl("textarea", value, write)),
  select(label, value, write, _, { options }) {
    const control = createElement("select", { className: "select w-full" });
    for (const option of new Set([...options, ...(value ? [value] : [])])) control.append(new Option(option, option));
    control.value = value ?? options[0];
    control.addEventListener("change", () => write(control.value));
    return addLabel(label, control);
  },
  checkbox(label, value, write) {
    const control = createElement("input", { type: "checkbox", className: "checkbox checkbox-sm", checked: Boolean(value) });
    control.addEventListener("change", () => write(control.checked || undefined));
    return createElement("label", { className: "flex items-center gap-2 text-sm" }, control, label);
  },
  lines: (label, value, write) =>
    addLabel(
      label,
      createTextControl("textarea", (value ?? []).join("\n"), (text) => write(text.split("\n").filter((line) => line))),
    ),
  json(label, value, write) {
    const box = addLabel(
      label,
      createTextControl("textarea", value === undefined ? "" : JSON.stringify(value, null, 2), (text) => {
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
    const storeAll = (changed) => write((messages = changed));
    const box = createElement("fieldset", { className: "space-y-2" }, createElement("legend", { className: "text-sm font-medium", textContent: label }));
    messages.forEach((message, at) => {
      const store = (part) => storeAll(messages.map((each, other) => (other === at ? { ...each, ...part } : each)));
      const plain = typeof message.content === "string";
      const role = CONTROLS.select("Role", message.role, (text) => store({ role: text }), redraw, buildOptions("system", "developer", "user", "assistant"));
      const content = plain ? CONTROLS.textarea : CONTROLS.json;
      const remove = createButton("Remove", () => (storeAll(messages.filter((_, other) => other !== at)), redraw()), `Remove message ${at + 1}`);
      const part = content(`Message ${at + 1}`, message.content, (text) => store({ content: text }));
      box.append(createElement("div", { className: "border-base-300 space-y-2 border-l-2 pl-3" }, role, part, remove));
    });
    const added = { role: "user", content: "{{sample.output_text}}" };
    box.append(createButton("Add message", () => (storeAll([...messages, added]), redraw())));
    return box;
  },
  field_scores(label, value, write, redraw) {
    let fields = value ?? {};
    const storeAll = (changed) => write((fields = changed));
    const box = createElement("fieldset", { className: "space-y-2" }, createElement("legend", { className: "text-sm font-medium", textContent: label }));
    const renameField = (from, to) => Object.fromEntries(Object.entries(fields).map(([k, v]) => [k === from ? to : k, v]));
    for (const [path, field] of Object.entries(fields)) {
      const store = (part) => storeAll({ ...fields, [path]: { ...fields[path], ...part } });
      const name = createTextControl("input", path, () => {});
      name.addEventListener("change", () => (storeAll(renameField(path, name.value)), redraw()));
      const createNumberControl = (key, text) => CONTROLS.input(text, field[key], (typed) => store({ [key]: typed === "" ? undefined : Number(typed) }));
      const remove = () => (storeAll(Object.fromEntries(Object.entries(fields).filter(([key]) => key !== path))), redraw());
      box.append(
        createElement(
          "div",
          { className: "grid items-end gap-2 sm:grid-cols-4" },
          addLabel("Path", name),
          CONTROLS.select("Comparison", field.compare, (text) => store({ compare: text }), redraw, buildOptions("exact", "text", "number", "fuzzy")),
          createNumberControl("tolerance", "Tolerance"),
          createNumberControl("weight", "Weight"),
          createButton("Remove", remove, `Remove field ${path}`),
        ),
      );
    }
    box.append(createButton("Add field", () => (storeAll({ ...fields, [`field_${Object.keys(fields).length + 1}`]: {} }), redraw())));
    return box;
  },
  parts(label, value, write, redraw) {
    const listed = Array.isArray(value);
    let parts = listed ? value.map((part) => [part.name, part]) : Object.entries(value ?? {});
    const store = (entries) => {
      parts = entries;
      write(listed ? entries.map(([name, part]) => ({ ...part, name })) : Object.fromEntries(entries));
    };
    const box = createElement("fieldset", { className: "space-y-4" }, createElement("legend", { className: "text-sm font-medium", textContent: label }));
    parts.forEach(([name, part], at) => {
      const replacePart = (entry) => store(parts.map((each, other) => (other === at ? entry : each)));
      const title = createTextControl("input", name, () => {});
      title.addEventListener("change", () => (replacePart([title.value, part]), redraw()));
      const kinds = Object.keys(KINDS).filter((kind) => kind !== "multi");
      const kind = CONTROLS.select("Kind", part.type, (type) => (replacePart([name, makePart(type, part)]), redraw()), redraw, buildOptions(...kinds));
      const inner = drawForm(part, (changed) => replacePart([name, changed]), redraw);
      const remove = createButton("Remove", () => (store(parts.filter((_, other) => other !== at)), redraw()), `Remove part ${name}`);
      box.append(createElement("div", { className: "border-base-300 space-y-2 border-l-2 pl-3" }, addLabel("Name in the formula", title), kind, inner, remove));
    });
    box.append(createButton("Add part", () => (store([...parts, [`part_${parts.length + 1}`, makePart("string_check", {})]]), redraw())));
    return box;
  },
};

// ``change`` gets the whole definition anew at every edit.
function drawForm(definition, change, redraw) {
  const current = definition;
  const box = createElement("div", { className: "space-y-3" });
  for (const { key, label, control, options } of KINDS[definition.type]?.fields ?? []) {
    const write = (value) => {
      if (value === undefined || (value === "" && OPTIONAL.includes(key))) delete current[key];
      else current[key] = value;
      change(current);
    };
    box.append(CONTROLS[control](label, current[key], write, redraw, { options }));
  }
  return box;
}

function parseDefinition(textarea) {
  try {
    const definition = JSON.parse(textarea.value);
    return KINDS[definition?.type]?.has_form ? definition : null;
  } catch {
    return null;
  }
}

// Two buttons choose between the form and the JSON; the form is shown first where there is one.
export function initGraderForm(textarea, editor) {
  if (textarea.readOnly || !textarea.closest("[data-bench]") || !parseDefinition(textarea)) return;
  const panel = createElement("div", { className: "panel space-y-3" });
  const status = createElement("p", { className: "text-error text-sm" });
  status.setAttribute("role", "status");
  const write = (definition) => {
    textarea.value = JSON.stringify(definition, null, 2);
    textarea.dispatchEvent(new Event("replaced"));
    textarea.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const redraw = () => {
    const definition = parseDefinition(textarea);
    if (definition) panel.replaceChildren(drawForm(definition, write, redraw));
    return Boolean(definition);
  };
  const buttons = ["Form", "JSON"].map((name) => createElement("button", { type: "button", className: "btn btn-sm join-item", textContent: name }));
  const showView = (asForm) => {
    const drawn = asForm && redraw();
    status.textContent = asForm && !drawn ? "The JSON has an error or another kind: correct it here first." : "";
    panel.hidden = !drawn;
    editor.hidden = drawn;
    buttons.forEach((each, at) => {
      each.setAttribute("aria-pressed", String(drawn === (at === 0)));
      each.classList.toggle("btn-active", drawn === (at === 0));
    });
  };
  buttons.forEach((each, at) => each.addEventListener("click", () => showView(at === 0)));
  const views = createElement("div", { className: "join mb-2" }, ...buttons);
  views.setAttribute("role", "group");
  views.setAttribute("aria-label", "Edit as");
  editor.before(views, status, panel);
  showView(true);
}
