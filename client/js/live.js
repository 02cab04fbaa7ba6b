// The present state of a subscription, as a page shows it.

import { Changes } from "./changes.js";
import { inOrder, threadKey } from "./mirror.js";

/**
 * Changes are told once a frame: a `change` event whose `detail.changes` has one change for each resource, however many
 * events there were; `before` is what was told of it the last time.
 */
export class Live extends EventTarget {
  #connection;
  #replica;
  #changes = new Changes();
  #due = false;
  #waits = new Set();

  /** Use `connection.live()`. */
  constructor(connection, replica) {
    super();
    this.#connection = connection;
    this.#replica = replica;
  }

  /** @returns {ReadonlyMap<string, any>} by id */
  get tasks() {
    return this.#replica.mirror.tasks;
  }

  /** @returns {ReadonlyMap<string, any>} live ones, by id */
  get sessions() {
    return this.#replica.mirror.sessions;
  }

  /** @returns {ReadonlyMap<string, any>} heads of the chains and what was told since, by id of the row */
  get providerSessions() {
    return this.#replica.mirror.providerSessions;
  }

  /** @returns {ReadonlyMap<string, any>} of the tasks whose totals were told, by id */
  get totals() {
    return this.#replica.mirror.totals;
  }

  /** @returns {any[]} */
  get threads() {
    return [...this.#replica.mirror.threads.values()];
  }

  /** @returns {string[] | null} there is too much for a snapshot: the lists to read instead */
  get tooLarge() {
    return this.#replica.mirror.read;
  }

  get position() {
    return this.#replica.position;
  }

  get state() {
    return this.#connection.state.state;
  }

  get stale() {
    return this.state === "stale";
  }

  get transport() {
    return this.#connection.state.transport;
  }

  get heardAt() {
    return this.#connection.state.heardAt;
  }

  /**
   * Messages of a thread, oldest first.
   * @param {string} threadId
   * @param {string | null} [user] whose; needed only where two users have threads of one id
   * @returns {any[]}
   */
  messages(threadId, user = null) {
    const { messages } = this.#replica.mirror;
    const key = user === null ? [...messages.keys()].find((one) => one.startsWith(`${threadId} `)) : threadKey(threadId, user);
    return inOrder(messages.get(key) ?? new Map());
  }

  /**
   * The session of which this holds, now or as soon as one changes so; also of the last that is said of one that left.
   * @param {(session: any) => boolean} holds
   * @param {{session?: string | null, signal?: AbortSignal}} [options]
   * @returns {Promise<any>}
   */
  until(holds, { session = null, signal } = {}) {
    const wanted = (one) => (session === null || one.id === session) && holds(one);
    const found = [...this.sessions.values()].find(wanted);
    if (found !== undefined) return Promise.resolve(found);
    return new Promise((resolve, reject) => {
      const wait = (changes) => {
        const seen = changes.filter(({ kind }) => kind === "session").map(({ after, last }) => after ?? last);
        const hit = seen.find(wanted);
        if (hit === undefined) return;
        this.#waits.delete(wait);
        resolve(hit);
      };
      this.#waits.add(wait);
      signal?.addEventListener("abort", () => {
        this.#waits.delete(wait);
        reject(signal.reason);
      });
    });
  }

  /** Take a resource that was read somewhere else: the newest version wins. */
  put(kind, data) {
    this.told(this.#replica.mirror.put(kind, data));
  }

  /**
   * Called by the connection.
   * @param {import("./mirror.js").Change[]} changes
   */
  told(changes) {
    if (changes.length === 0) return;
    for (const wait of [...this.#waits]) wait(changes);
    for (const change of changes) this.#changes.add(change);
    if (this.#due) return;
    this.#due = true;
    // A hidden page is drawn no frames.
    if (globalThis.document?.visibilityState === "visible") requestAnimationFrame(() => this.#tell());
    else setTimeout(() => this.#tell());
  }

  #tell() {
    this.#due = false;
    const changes = this.#changes.take();
    if (changes.length > 0) this.dispatchEvent(new CustomEvent("change", { detail: { changes } }));
  }
}
