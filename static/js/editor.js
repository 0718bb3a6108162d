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

const LANGUAGES = { python, json };

function serverLint(url, name) {
  return linter(async (view) => {
    if (!view.state.doc.length) return [];
    const body = new FormData();
    body.set(name, view.state.doc.toString());
    const headers = { "X-CSRFToken": document.querySelector("meta[name=csrf-token]").content };
    const response = await fetch(url, { method: "POST", body, headers });
    if (!response.ok) return [];
    const { problems } = await response.json();
    return problems.map(({ line, column, message }) => {
      const place = view.state.doc.line(Math.min(Math.max(line, 1), view.state.doc.lines));
      const from = Math.min(place.from + Math.max(column - 1, 0), place.to);
      return { from, to: place.to, severity: "error", message };
    });
  });
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
        LANGUAGES[textarea.dataset.editor](),
        syntaxHighlighting(classHighlighter), // colours come from app.css, for both themes
        EditorState.readOnly.of(textarea.readOnly),
        EditorView.contentAttributes.of({ "aria-label": label }),
        EditorView.updateListener.of((update) => {
          if (!update.docChanged) return;
          textarea.value = update.state.doc.toString();
          textarea.dispatchEvent(new Event("input"));
        }),
        ...(textarea.dataset.lintUrl ? [lintGutter(), serverLint(textarea.dataset.lintUrl, textarea.name)] : []),
      ],
    }),
  });
  view.scrollDOM.tabIndex = 0;
  textarea.addEventListener("replaced", () => {
    view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: textarea.value } });
  });
  textarea.before(view.dom);
  textarea.hidden = true;
}

document.querySelectorAll("textarea[data-editor]").forEach(initEditor);
