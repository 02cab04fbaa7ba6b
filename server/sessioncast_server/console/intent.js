// One change that the reader wants, made once however often it has to be asked for.

import { Refused, send } from "./api.js";
import { element } from "./list.js";
import { changeProblem } from "./problems.js";

const MAX_DELAY_MS = 60_000; // a reader does not wait for longer, whatever the server asks for

export class Intent {
  settled = false; // it was done, or refused for good: the next wish is another one
  #method;
  #path;
  #key = newKey();

  // `body` is text: repeated with the same key it has to be the same to the byte.
  constructor(method, path, body = "") {
    this.#method = method;
    this.#path = path;
    this.body = body;
  }

  // Whether it asks for the same.
  isLike(other) {
    return this.#method === other.#method && this.#path === other.#path && this.body === other.body;
  }

  // The answer {status, body}. Throws Refused; an AbortError when `signal` says so.
  async send(signal) {
    try {
      const answer = await send(this.#method, this.#path, { body: this.body, key: this.#key, signal });
      this.settled = true;
      return answer;
    } catch (error) {
      if (error instanceof Refused && !error.passing) this.settled = true;
      throw error;
    }
  }
}

// The answer, over as many tries as the reader wants; null when the reader gives up, and the dialog is closed then.
// Throws the Refused that repeating does not help against; the dialog is as it was.
//
// `subject`: {title, failed, missing}, see `changeProblem`.
export async function insist(dialog, intent, subject) {
  let delay = 0;
  for (;;) {
    try {
      return await dialog.during(async (signal) => {
        await pause(delay, signal);
        return intent.send(signal);
      });
    } catch (error) {
      if (error.name === "AbortError") return null;
      if (!(error instanceof Refused)) throw error;
      const { title, lines, again } = changeProblem(error, subject);
      if (!again) throw error;
      const soonest = Date.now() + Math.min(error.retryAfterMs, MAX_DELAY_MS);
      const choices = [{ label: "Try again", value: true }];
      if (!(await dialog.ask({ title, body: paragraphs(lines), choices, ready: true }))) return null;
      delay = soonest - Date.now();
    }
  }
}

// What repeating does not help against, told; with whom to ask, where it is a fault of the server's.
export async function tell(dialog, problem, subject) {
  const { title, lines } = changeProblem(problem, subject);
  const aside = problem.status >= 500 && dialog.support ? element("a", "aside", "Contact Support") : null;
  if (aside) aside.href = dialog.support;
  await dialog.ask({ title, body: paragraphs(lines), choices: [], cancel: "Close", aside });
}

function paragraphs(lines) {
  return lines.map((line, at) => element("p", at === 0 ? "" : "quiet", line));
}

// Sooner than the server asked for would be refused again.
function pause(ms, signal) {
  if (ms <= 0) return null;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

// `crypto.randomUUID` is there on secure origins only, and the page is served on others too.
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
