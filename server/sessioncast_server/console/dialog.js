// A question over the page. Esc and «Cancel» are one answer: no.

import { element, say } from "./list.js";

const PATIENCE_MS = 400;

// `root`: a <dialog> with a heading, a body and a row of buttons.
export class Dialog {
  support = ""; // address of those who can help
  #root;
  #title;
  #body;
  #buttons;
  #settle = null; // of the question that is open
  #abort = null; // of what is under way
  #opener = null;
  #home = null; // where focus goes when what it came from is gone
  #open = false;

  constructor(root) {
    this.#root = root;
    this.#title = root.querySelector("h2");
    this.#body = root.querySelector(".body");
    this.#buttons = root.querySelector(".buttons");
    // By Esc; the event comes later, and another question may be open by then.
    root.addEventListener("close", () => {
      if (this.#open && !root.open) this.close();
    });
  }

  // The value of the choice; null for no, and the dialog is closed then. After a choice it stays open, so that what
  // follows from it (`during`, another question) is in its place: `close()` is the caller's.
  //
  // `choices`: [{label, value, danger?}]; `ready`: the first choice does no harm and has the focus, else «Cancel» has;
  // `aside`: an element beside the buttons.
  ask({ title, body, choices, cancel = "Cancel", ready = false, aside }) {
    this.#settle?.(null);
    say(this.#title, title);
    this.#body.replaceChildren(...body);
    const buttons = choices.map(({ label, value, danger }) => {
      const button = element("button", danger ? "danger" : "main", label);
      button.addEventListener("click", () => this.#choose(value));
      return button;
    });
    this.#draw([...buttons, this.#cancel(cancel), ...(aside ? [aside] : [])], ready ? 0 : buttons.length);
    return new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  // What `work(signal)` gives. If it takes long the dialog says so, and «Cancel» aborts the signal.
  async during(work) {
    const abort = new AbortController();
    this.#abort = abort;
    const slow = setTimeout(() => this.#wait(), PATIENCE_MS);
    try {
      return await work(abort.signal);
    } finally {
      clearTimeout(slow);
      this.#abort = null;
    }
  }

  // The browser gives focus back to where it came from, if that is still there.
  close() {
    if (!this.#open) return;
    this.#open = false;
    this.#root.close();
    this.#abort?.abort();
    this.#choose(null);
    if (!this.#opener?.isConnected) this.#home?.querySelector("button")?.focus();
  }

  #wait() {
    if (!this.#open) {
      say(this.#title, "One moment");
      this.#body.replaceChildren();
    }
    this.#draw([element("p", "quiet", "Waiting for the server…"), this.#cancel("Cancel")], 1);
  }

  #draw(row, focused) {
    if (!this.#open) {
      this.#open = true;
      this.#opener = document.activeElement;
      this.#home = this.#opener?.closest("[data-home]");
      this.#root.showModal();
    }
    for (const button of row) if (button.tagName === "BUTTON") button.type = "button";
    this.#buttons.replaceChildren(...row);
    this.#body.tabIndex = this.#body.scrollHeight > this.#body.clientHeight ? 0 : -1; // to be scrolled by keyboard
    row[focused].focus();
  }

  #cancel(label) {
    const button = element("button", "", label);
    button.addEventListener("click", () => this.close());
    return button;
  }

  #choose(value) {
    const settle = this.#settle;
    this.#settle = null;
    settle?.(value);
  }
}
