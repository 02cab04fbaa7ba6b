// Starting a session, through all that may come of it.

import { exactly, read, Refused } from "./api.js";
import { confirmation } from "./confirm.js";
import { insist, Intent, tell } from "./intent.js";
import { element } from "./list.js";
import { texts } from "./texts.js";

export const START = {
  title: "The session was not started",
  failed: texts.createFailed,
  missing: "This task is not there any more, or you have no right to it.",
};

// What is asked for: {phase, debug, model, params: JSON text or "", agent}.
export class Wish {
  #text;

  constructor(taskId, { phase, debug, model, params, agent }) {
    this.path = `/v1/tasks/${taskId}/sessions`;
    this.model = { ...model, ...(params && { params: JSON.parse(params, exactly) }) };
    // The parameters go as they were typed: through JSON.parse long numbers would lose digits.
    const named = JSON.stringify(model);
    const whole = params ? `${named.slice(0, -1)},"params":${params}}` : named;
    const rest = JSON.stringify({ phase, debug, ...(agent && { agent }) });
    this.#text = `${rest.slice(0, -1)},"model":${whole}`;
  }

  // An intent of its own, with further fields of the request.
  intent(more = {}) {
    const fields = Object.entries(more).map(([name, value]) => `,${JSON.stringify(name)}:${JSON.stringify(value)}`);
    return new Intent("POST", this.path, `${this.#text}${fields.join("")}}`);
  }
}

// `choose(id)`: the session to be looked at from now on.
export class Starter {
  #dialog;
  #choose;
  #restarting = false;

  constructor(dialog, choose) {
    this.#dialog = dialog;
    this.#choose = choose;
  }

  // Whether it led to a session. Throws the Refused that is about the wish itself; nothing is open then.
  async start(wish, intent = wish.intent()) {
    return this.#pursue(wish, "replace", intent);
  }

  // The same model and agent anew, in place of a live session.
  async restart(id) {
    if (this.#restarting) return;
    this.#restarting = true;
    try {
      const find = (signal) => read(`/v1/sessions/${id}`, { revive: exactly, signal });
      const session = await this.#dialog.during(find);
      const { params, available, label, ...model } = session.model;
      const wish = new Wish(session.task_id, { ...session, model, params: params ? JSON.stringify(params) : "" });
      await this.#pursue(wish, "restart", wish.intent({ on_conflict: "restart" }));
    } catch (error) {
      if (error instanceof Refused) await tell(this.#dialog, error, START);
      else if (error.name !== "AbortError") throw error;
    } finally {
      this.#restarting = false;
    }
  }

  async #pursue(wish, conflict, intent) {
    const dialog = this.#dialog;
    for (;;) {
      try {
        const answer = await insist(dialog, intent, START);
        return answer !== null && (await this.#arrive(answer));
      } catch (error) {
        const question = error instanceof Refused ? confirmation(error, wish.model) : null;
        if (!question) {
          dialog.close();
          throw error;
        }
        const confirm = await dialog.ask(question);
        if (confirm === null) return false;
        intent = wish.intent({ on_conflict: conflict, confirm });
      }
    }
  }

  async #arrive({ status, body }) {
    if (status === 200 && body.outcome === "existing") {
      const message = [element("p", "", body.message ?? texts.sameModel)];
      const choices = [{ label: "View the active session", value: true }];
      const ask = { title: "A session is active", body: message, choices, cancel: "Close", ready: true };
      if (!(await this.#dialog.ask(ask))) return false;
    }
    this.#dialog.close();
    this.#choose(body.session.id);
    return true;
  }
}
