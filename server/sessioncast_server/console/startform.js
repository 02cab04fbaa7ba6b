// The form that a session is started with.

import { read, Refused } from "./api.js";
import { tell } from "./intent.js";
import { element, say } from "./list.js";
import { START, Wish } from "./start.js";

const byId = (id) => document.getElementById(id);
const MAX_SUGGESTIONS = 200;
const FIELDS = ["phase", "debug", "model", "version", "params", "agent"];
// Where the server's name of a field begins, and the field it is here; the first that fits.
const NAMES = [
  ["model.name", "model"],
  ["model.version", "version"],
  ["model.params", "params"],
  ["model", "model"],
  ["agent", "agent"],
  ["phase", "phase"],
  ["debug", "debug"],
];

export class StartForm {
  #root = byId("start");
  #starter;
  #dialog;
  #task = "";
  #last = null; // {text, intent} that was sent
  #busy = false;

  constructor(starter, dialog) {
    this.#starter = starter;
    this.#dialog = dialog;
    byId("start-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    byId("start-cancel").addEventListener("click", () => this.#root.close());
  }

  // For a task; `phase` is proposed.
  open(task, phase) {
    this.#task = task.id;
    say(byId("start-task"), task.title);
    byId("start-phase").value = phase;
    this.#clear();
    this.#root.showModal();
    this.#suggest(task.project_id);
  }

  close() {
    this.#root.close();
  }

  // The models that are registered, if any are; without them the field is as good.
  async #suggest(project) {
    byId("start-models").replaceChildren();
    try {
      const { data } = await read(`/v1/projects/${encodeURIComponent(project)}/models?limit=${MAX_SUGGESTIONS}`);
      const there = data.filter((model) => !model.deleted_at);
      const options = there.map(({ name }) => {
        const option = element("option");
        option.value = name;
        return option;
      });
      byId("start-models").replaceChildren(...options);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
    }
  }

  async #submit() {
    if (this.#busy) return;
    this.#clear();
    const wish = this.#wish();
    if (wish === null) return;
    // The same again after an unknown outcome is the same intent, also when «Cancel» was between.
    const intent = wish.intent();
    const again = this.#last !== null && !this.#last.settled && this.#last.isLike(intent);
    this.#last = again ? this.#last : intent;
    this.#busy = true;
    try {
      if (await this.#starter.start(wish, this.#last)) this.#root.close();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      await this.#refused(error);
    } finally {
      this.#busy = false;
    }
  }

  // What the fields ask for; null, and what is wrong beside them.
  #wish() {
    const [name, version, params, agent] = ["model", "version", "params", "agent"].map((field) => this.#text(field));
    if (params) this.#problem("params", paramsProblem(params));
    if (!name) this.#problem("model", "A model is needed.");
    if (this.#focusProblem()) return null;
    const model = { name, ...(version && { version }) };
    const [phase, debug] = [byId("start-phase").value, byId("start-debug").checked];
    return new Wish(this.#task, { phase, debug, model, params, agent });
  }

  async #refused(problem) {
    const own = [400, 413, 422].includes(problem.status);
    if (!own || !this.#root.open) {
      await tell(this.#dialog, problem, START);
      return;
    }
    if (problem.code === "model_not_found") this.#problem("model", problem.message);
    else this.#invalid(problem);
    this.#focusProblem();
  }

  #invalid(problem) {
    for (const { field, message } of problem.document.errors ?? []) {
      const [, own] = NAMES.find(([name]) => field === name || field.startsWith(`${name}.`)) ?? [];
      if (own) this.#problem(own, own === "params" ? `${field.slice("model.".length)}: ${message}` : message);
      else this.#problem("form", `${field}: ${message}`);
    }
    if (!problem.document.errors?.length) this.#problem("form", problem.message);
  }

  #text(field) {
    return byId(`start-${field}`).value.trim();
  }

  #problem(field, text) {
    if (!text) return;
    const place = byId(`start-${field}-problem`);
    place.hidden = false;
    place.textContent = place.textContent ? `${place.textContent} ${text}` : text;
    byId(`start-${field}`).setAttribute("aria-invalid", "true");
  }

  #clear() {
    for (const field of ["form", ...FIELDS]) {
      byId(`start-${field}-problem`).hidden = true;
      byId(`start-${field}-problem`).textContent = "";
      byId(`start-${field}`).removeAttribute("aria-invalid");
    }
  }

  // Whether something is wrong; the first field of it has the focus then.
  #focusProblem() {
    const wrong = this.#root.querySelector("[aria-invalid]");
    this.#root.querySelector("form [aria-invalid]")?.focus();
    return wrong !== null;
  }
}

function paramsProblem(text) {
  try {
    const value = JSON.parse(text);
    if (value !== null && typeof value === "object" && !Array.isArray(value)) return "";
    return 'Parameters are a JSON object, like {"temperature": 0.2}.';
  } catch (error) {
    return `This is not JSON: ${error.message}`;
  }
}
