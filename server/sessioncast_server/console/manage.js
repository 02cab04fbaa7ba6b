// Small changes: a task is made, a session is deleted.

import { Refused } from "./api.js";
import { about, exporting } from "./confirm.js";
import { insist, Intent, tell } from "./intent.js";
import { element, phaseOf } from "./list.js";
import { texts } from "./texts.js";

const DELETE = {
  title: "The session was not deleted",
  failed: texts.unavailable,
  missing: "This session is not there any more, or you have no right to it.",
};
const CREATE = {
  title: "The task was not made",
  failed: texts.unavailable,
  missing: "There is no such project, or no right to it.",
};

// Frees a session's phase, once the reader has confirmed it.
export async function deleteSession(dialog, session) {
  const body = [
    element("p", "", `${session.active ? "It is cancelled, and its" : "Its"} place, ${phaseOf(session)}, is free for another.`),
    element("p", "", "What it printed can still be exported."),
    about(session),
  ];
  const choices = [{ label: "Delete", value: true, danger: true }];
  const question = { title: "Delete this session?", body, choices, aside: exporting(session.id) };
  if (!(await dialog.ask(question))) return;
  await carryOut(dialog, new Intent("DELETE", `/v1/sessions/${session.id}`), DELETE);
}

// The form that a task is made with.
export class TaskForm {
  #last = null; // the intent that was sent
  #busy = false;

  // `form` has one field, `title`; `project()` is the project's id.
  constructor(form, dialog, project) {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const title = form.elements.title.value.trim();
      if (this.#busy || !title) return;
      const path = `/v1/projects/${encodeURIComponent(project())}/tasks`;
      const intent = new Intent("POST", path, JSON.stringify({ title }));
      if (this.#last === null || this.#last.settled || !this.#last.isLike(intent)) this.#last = intent;
      this.#busy = true;
      try {
        if (await carryOut(dialog, this.#last, CREATE)) form.reset();
      } finally {
        this.#busy = false;
      }
    });
  }
}

// Whether it was done; if it cannot be, the reader is told why.
async function carryOut(dialog, intent, subject) {
  try {
    const answer = await insist(dialog, intent, subject);
    dialog.close();
    return answer !== null;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    await tell(dialog, error, subject);
    return false;
  }
}
