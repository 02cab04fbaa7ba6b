// What the chosen session's provider sessions used, in a line: read when it is chosen, and again when one of them tells.

import { read } from "./api.js";
import { say } from "./list.js";

export class Usage {
  #line;
  #id = null;
  #reading = false;
  #again = false;

  constructor(line) {
    this.#line = line;
  }

  choose(id) {
    this.#id = id;
    this.#show("");
    this.refresh();
  }

  take(event) {
    if (event.type.startsWith("provider_session.")) this.refresh();
  }

  // One request at a time, however many events there are; the last one is seen.
  async refresh() {
    if (this.#id === null) return;
    if (this.#reading) {
      this.#again = true;
      return;
    }
    this.#reading = true;
    const id = this.#id;
    try {
      const used = await read(`/v1/sessions/${encodeURIComponent(id)}/metrics?limit=1`);
      if (id === this.#id) this.#show(used.num_iterations === 0 ? "" : lineOf(used));
    } catch {
      // What is shown stays; the next event, or choosing the session again, asks anew.
    } finally {
      this.#reading = false;
    }
    if (this.#again || id !== this.#id) {
      this.#again = false;
      this.refresh();
    }
  }

  #show(text) {
    this.#line.hidden = text === "";
    say(this.#line, text);
  }
}

export function lineOf(used) {
  const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
  const cached = used.total_cached_tokens > 0 ? ` (${used.total_cached_tokens.toLocaleString("en")} cached)` : "";
  const parts = [
    count(used.num_iterations, "provider session"),
    `${count(used.total_tokens, "token")}${cached}`,
    count(used.total_turns, "turn"),
  ];
  const cost = `$${used.total_cost.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 4 })}`;
  if (used.cost_known) parts.push(cost);
  else parts.push(used.total_cost > 0 ? `${cost} and more` : "cost unknown");
  return parts.join(" · ");
}
