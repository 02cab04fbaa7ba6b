// Changes that nobody has been told of yet, one for each resource however often it changed. No I/O.

const GONE_MAX = 10_000;

export class Changes {
  #waiting = new Map();
  #gone = new Set(); // those of them that are about what is not there any more; beyond the bound the oldest go

  get size() {
    return this.#waiting.size;
  }

  /** @param {import("./mirror.js").Change} change */
  add(change) {
    const { kind, id, before, after, last } = change;
    const name = `${kind} ${id} ${(after ?? last ?? before)?.user ?? ""}`;
    const waiting = this.#waiting.get(name);
    this.#waiting.set(name, waiting === undefined ? change : { ...change, before: waiting.before });
    this.#gone.delete(name);
    if (after !== null) return;
    this.#gone.add(name);
    if (this.#gone.size <= GONE_MAX) return;
    const [oldest] = this.#gone;
    this.#gone.delete(oldest);
    this.#waiting.delete(oldest);
  }

  /** @returns {import("./mirror.js").Change[]} all of them; none waits any more */
  take() {
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    this.#gone.clear();
    return all;
  }
}
