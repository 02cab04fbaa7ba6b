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
    const anybodys = () => [...messages.keys()].find((one) => one.startsWith(`${threadId} `));
    const key = user === null ? anybodys() : threadKey(threadId, user);
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
      const wait = {
        look: (changes) => {
          const seen = changes.filter(({ kind }) => kind === "session").map(({ after, last }) => after ?? last);
          const hit = seen.find(wanted);
          if (hit !== undefined) this.#waits.delete(wait) && resolve(hit);
        },
        end: (reason) => this.#waits.delete(wait) && reject(reason),
      };
      this.#waits.add(wait);
      signal?.addEventListener("abort", () => wait.end(signal.reason));
    });
  }

  /**
   * Until there is something to show.
   * @returns {Promise<this>} rejects with what the server refused with, and when the connection is closed before
   */
  ready() {
    return new Promise((resolve, reject) => {
      const look = () => {
        const { state, first, problem } = this.#connection.state;
        if (state === "refused" || state === "closed") reject(problem ?? ended());
        else if (first || this.position === null) return;
        else resolve(this);
        this.#connection.removeEventListener("state", look);
      };
      this.#connection.addEventListener("state", look);
      look();
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
    for (const wait of [...this.#waits]) wait.look(changes);
    for (const change of changes) this.#changes.add(change);
    if (this.#due) return;
    this.#due = true;
    // A hidden page is drawn no frames.
    if (globalThis.document?.visibilityState === "visible") requestAnimationFrame(() => this.#tell());
    else setTimeout(() => this.#tell());
  }

  /** Called by the connection: nothing changes any more. */
  closed() {
    for (const wait of [...this.#waits]) wait.end(ended());
  }

  #tell() {
    this.#due = false;
    const changes = this.#changes.take();
    if (changes.length > 0) this.dispatchEvent(new CustomEvent("change", { detail: { changes } }));
  }
}

function ended() {
  return new DOMException("The connection was closed.", "AbortError");
}
