// A form over a grader's JSON. The JSON stays the form's value: every change writes it, and what the form has no
// field for is kept. Without this file the JSON is edited as text.

// The kinds of graders by type, as workers/grading/kinds describes them: {fields, has_form, example}.
const KINDS = JSON.parse(document.getElementById("grader-kinds")?.textContent ?? "{}");
const choice = (...options) => ({ options });

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
  field_scores(label, value, write, redraw) {
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
      const kinds = Object.keys(KINDS).filter((kind) => kind !== "multi");
      const kind = CONTROLS.select("Kind", part.type, (type) => (replaced([name, makePart(type, part)]), redraw()), redraw, choice(...kinds));
      const inner = draw(part, (changed) => replaced([name, changed]), redraw);
      const remove = button("Remove", () => (store(parts.filter((_, other) => other !== at)), redraw()), `Remove part ${name}`);
      box.append(element("div", { className: "border-base-300 space-y-2 border-l-2 pl-3" }, labelled("Name in the formula", title), kind, inner, remove));
    });
    box.append(button("Add part", () => (store([...parts, [`part_${parts.length + 1}`, makePart("string_check", {})]]), redraw())));
    return box;
  },
};

// ``change`` gets the whole definition anew at every edit.
function draw(definition, change, redraw) {
  const current = definition;
  const box = element("div", { className: "space-y-3" });
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

function parsed(textarea) {
  try {
    const definition = JSON.parse(textarea.value);
    return KINDS[definition?.type]?.has_form ? definition : null;
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
