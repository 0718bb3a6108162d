// CodeMirror over a textarea: the textarea stays the form's value and works alone without this file.
import { json } from "@codemirror/lang-json";
import { python } from "@codemirror/lang-python";
import { syntaxHighlighting } from "@codemirror/language";
import { linter, lintGutter } from "@codemirror/lint";
import { EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { classHighlighter } from "@lezer/highlight";
import { basicSetup } from "codemirror";
import "./grader.js";
import { initGraderForm } from "./grader_form.js";

const LANGUAGES = { python, json };

function createServerLinter(url, name) {
  return linter(async (view) => {
    if (!view.state.doc.length) return [];
    const body = new FormData();
    body.set(name, view.state.doc.toString());
    const headers = { "X-CSRFToken": document.querySelector("meta[name=csrf-token]").content };
    const response = await fetch(url, { method: "POST", body, headers });
    if (!response.ok) return [];
    const { problems } = await response.json();
    return problems.map(({ line, column, message }) => {
      const docLine = view.state.doc.line(Math.min(Math.max(line, 1), view.state.doc.lines));
      const from = Math.min(docLine.from + Math.max(column - 1, 0), docLine.to);
      return { from, to: docLine.to, severity: "error", message };
    });
  });
}

const SAMPLE_FIELDS = ["output_text", "output_json", "output_tools", "choices"];

// The chosen dataset's fields; the page renews the list when another one is chosen.
function listItemFields() {
  return [...document.querySelectorAll("#fields option")].map((option) => option.value);
}

function buildOptions(names, quoted) {
  const buildStep = (name) => (/^\w+$/.test(name) ? `.${name}` : `["${name}"]`);
  const buildOption = (name) => (quoted ? { label: name } : { label: `.${name}`, apply: buildStep(name) });
  return names.map((name) => ({ ...buildOption(name), type: "property" }));
}

// After `item` and `sample`: their fields, in templates and in Python's brackets.
function completeFields(context) {
  const quoted = context.matchBefore(/\b(?:item|sample)(?:\[|\.get\()["'][^"'\n]*/);
  const dotted = quoted ? null : context.matchBefore(/\b(?:item|sample)\.\w*/);
  const found = quoted ?? dotted;
  if (!found) return null;
  const names = found.text.startsWith("item") ? listItemFields() : SAMPLE_FIELDS;
  const start = quoted ? found.text.search(/["']/) + 1 : found.text.indexOf(".");
  return { from: found.from + start, options: buildOptions(names, Boolean(quoted)), validFor: /^[.\w -]*$/ };
}

function initEditor(textarea) {
  const label = document.querySelector(`label[for=${textarea.id}]`)?.textContent ?? "Editor";
  const view = new EditorView({
    parent: textarea.parentElement,
    state: EditorState.create({
      doc: textarea.value,
      extensions: [
        basicSetup,
        EditorView.cspNonce.of(document.querySelector("script[nonce]").nonce), // its styles are a <style> element
        EditorView.theme({ ".cm-content, .cm-gutter": { minHeight: "20rem" } }),
        EditorView.lineWrapping,
        LANGUAGES[textarea.dataset.editor](),
        EditorState.languageData.of(() => [{ autocomplete: completeFields }]),
        syntaxHighlighting(classHighlighter), // colours come from app.css, for both themes
        EditorState.readOnly.of(textarea.readOnly),
        EditorView.contentAttributes.of({ "aria-label": label }),
        EditorView.updateListener.of((update) => {
          if (!update.docChanged) return;
          textarea.value = update.state.doc.toString();
          textarea.dispatchEvent(new Event("input"));
        }),
        ...(textarea.dataset.lintUrl ? [lintGutter(), createServerLinter(textarea.dataset.lintUrl, textarea.name)] : []),
      ],
    }),
  });
  view.scrollDOM.tabIndex = 0;
  textarea.addEventListener("replaced", () => {
    view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: textarea.value } });
  });
  textarea.before(view.dom);
  textarea.hidden = true;
  if (textarea.dataset.editor === "json") initGraderForm(textarea, view.dom);
}

document.querySelectorAll("textarea[data-editor]").forEach(initEditor);
