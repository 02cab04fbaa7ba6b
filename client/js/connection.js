// What a program sees: one subscription that heals, reads that are cached, changes that are made once.

import { differences, mismatchText } from "./check.js";
import { Hub } from "./hub.js";
import { TRANSPORTS } from "./ladder.js";
import { LIMITS } from "./limits.js";
import { Live } from "./live.js";
import { newName } from "./names.js";
import { ProtocolError, sameEpoch } from "./position.js";
import { Refused } from "./refused.js";
import { Replica } from "./replica.js";
import { canonical } from "./requests.js";

const RENEWING = ["epoch", "future"];

/**
 * @typedef {object} ConnectOptions
 * @property {string} project
 * @property {Partial<Record<"task" | "session" | "thread" | "kinds", string | string[]>>} [filter] ids are a union;
 *   without any, the whole project
 * @property {string | (() => string | null | Promise<string | null>) | null} [token] a function is asked again when
 *   the server wants another one, and before a JWT expires
 * @property {"auto" | import("./ladder.js").TransportName} [transport]
 * @property {import("./tracker.js").SnapshotWish} [snapshot]
 * @property {boolean} [share] the connection with other tabs of the browser
 * @property {RequestCredentials} [credentials] as for `fetch`
 * @property {() => string | null} [about] the session that a reader looks at: named in reports to the server
 * @property {Partial<import("./limits.js").Limits>} [limits]
 */

/**
 * Events: `state` (detail: State), `snapshot` ({resources, position, tooLarge, read, reason, renewed}), `event`,
 * `delta`, `gap` and `resync` ({reason}), `stale` ({heardAt}), `mismatch` ({put, drop}).
 */
export class Connection extends EventTarget {
  #hub;
  #id;
  #replica;
  #live;
  #state;
  #reason = null; // why a snapshot is on its way
  #renewed = false; // the log began another life since the last one
  #snapshot;
  #about;
  #kinds;

  /** Use `connect`. */
  constructor(url, { project, filter, snapshot = "auto", about, ...options }) {
    super();
    this.#hub = Hub.of(url, options);
    this.#snapshot = snapshot;
    this.#about = about;
    const wanted = { project, filter: canonical(filter) };
    this.#kinds = wanted.filter.kinds;
    this.#replica = new Replica(this.#hub.limits, wanted.filter.kinds, snapshot);
    this.#live = new Live(this, this.#replica);
    const nothing = { transport: null, why: "", at: null, problem: null };
    this.#state = { state: "connecting", ...nothing, first: true, heardAt: Date.now() };
    const port = {
      about,
      frame: (frame) => this.#frame(frame),
      state: (state) => this.#show(state),
      heard: () => {
        this.#state.heardAt = Date.now();
      },
    };
    // After the caller has had the time to listen.
    queueMicrotask(() => {
      if (this.#state.state !== "closed") this.#id = this.#hub.attach(wanted, this.#replica, port, snapshot);
    });
  }

  /** @returns {import("./feed.js").State} */
  get state() {
    return { ...this.#state };
  }

  get position() {
    return this.#replica.position;
  }

  /** @returns {Live} the present state, kept up to date */
  live() {
    return this.#live;
  }

  /** Try now instead of later. */
  retry() {
    if (this.#id !== undefined) this.#hub.retry(this.#id);
  }

  /**
   * Compare with what the server has, now.
   * @returns {Promise<{checked: boolean, mismatches: number}>}
   */
  async refresh() {
    return this.#id === undefined ? { checked: false, mismatches: 0 } : this.#hub.refresh(this.#id);
  }

  close() {
    if (this.#state.state === "closed") return;
    if (this.#id !== undefined) this.#hub.detach(this.#id);
    this.#show({ ...this.#state, state: "closed", transport: null, why: "", at: null });
    this.#live.closed();
  }

  /** Counts of all connections of this page to the server. */
  stats() {
    return this.#hub.stats.copy();
  }

  /**
   * The answer to a GET, cached for ten seconds; events and changes of our own correct it before.
   * @param {string} path
   * @returns {Promise<import("./cache.js").Answer>}
   * @throws {Refused}
   */
  get(path) {
    return this.#hub.cache.get(path);
  }

  /**
   * Ask for a change. It is made once, however often it has to be asked for until somebody answers.
   * @param {"POST" | "PUT" | "PATCH" | "DELETE"} method
   * @param {string} path
   * @param {any} [body]
   * @param {{key?: string, signal?: AbortSignal}} [options] `key`: names the change, to ask for the same one again
   * @returns {Promise<{status: number, body: any}>}
   * @throws {Refused}
   */
  async send(method, path, body = undefined, { key = newName(), signal } = {}) {
    const { requests, cache, limits } = this.#hub;
    const headers = { "Content-Type": "application/json", "Idempotency-Key": key };
    const init = { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal };
    for (let tries = 1; ; tries++) {
      try {
        const { status, body: answer } = await requests.json(path, init);
        cache.changed(path, answer);
        this.#hub.nudge();
        return { status, body: answer };
      } catch (problem) {
        if (!(problem instanceof Refused) || !problem.unknown || tries >= limits.sendTries) throw problem;
        const wait = problem.retryAfterMs + Math.random() * limits.backoffBaseS * 1000 * 2 ** tries;
        await new Promise((resolve) => setTimeout(resolve, wait));
        signal?.throwIfAborted();
      }
    }
  }

  #frame(frame) {
    if (frame.op === "corrected") {
      this.#live.told(this.#replica.mirror.correct(frame));
      const gone = frame.drop.map(([, key]) => key.split(" ")[0]);
      this.#hub.cache.drop([...frame.put.map(({ data }) => data.id), ...gone]);
      this.#dispatch("mismatch", { put: frame.put, drop: frame.drop });
      return;
    }
    if (frame.op === "checked") {
      this.#checked(frame);
      return;
    }
    let taken;
    try {
      taken = this.#replica.take(frame);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#begin();
      return;
    }
    for (const item of taken.items) this.#tell(item);
    this.#live.told(taken.changes);
  }

  // What this page shows may be wrong though what it was told is right, and has come as far as what was read.
  #checked({ resources, position }) {
    if (!this.#replica.whole || !sameEpoch(this.#replica.position, position)) return;
    const { put, drop } = differences(this.#replica, resources, position, this.#kinds);
    if (put.length + drop.length === 0) return;
    this.#live.told(this.#replica.mirror.correct({ put, drop }));
    this.#hub.stats.mismatches += put.length + drop.length;
    this.#hub.reports.add("mismatch", mismatchText(put, drop, position), { session: this.#about?.() });
    this.#dispatch("mismatch", { put, drop });
  }

  // What another tab told makes no sense: from the beginning.
  #begin() {
    this.#replica.forget();
    this.#hub.again(this.#id);
  }

  #tell(item) {
    if (item.opened?.state === "gap") this.#missed("gap", item.opened.reason);
    else if (item.resync !== undefined) this.#missed("resync", item.resync);
    else if (item.event) {
      this.#hub.cache.event(item.event);
      this.#dispatch("event", item.event);
    } else if (item.delta) this.#dispatch("delta", item.delta);
    else if (item.snapshot) {
      const [reason, renewed] = [this.#reason, this.#renewed];
      this.#reason = null;
      this.#renewed = false;
      this.#dispatch("snapshot", { ...item.snapshot, reason, renewed });
    }
  }

  #missed(type, reason) {
    this.#reason = reason ?? "unknown";
    // In another life of the log, what was read of the one before may never have happened.
    this.#renewed ||= RENEWING.includes(reason);
    if (this.#snapshot === "never") this.#reason = null;
    this.#dispatch(type, { reason: reason ?? "unknown" });
  }

  #show(state) {
    if (this.#state.state === "closed") return;
    const before = this.#state;
    this.#state = { ...state, heardAt: Math.max(state.heardAt, before.heardAt) };
    const changed = ["state", "transport", "at", "why"].some((name) => before[name] !== state[name]);
    if (!changed) return;
    this.#dispatch("state", this.state);
    if (state.state === "stale" && before.state !== "stale") this.#dispatch("stale", { heardAt: this.#state.heardAt });
  }

  #dispatch(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/**
 * Follow a project, or a part of it.
 * @param {string} url of the server, empty for that of the page
 * @param {ConnectOptions} options
 * @returns {Connection}
 * @throws {TypeError} an option cannot be one
 */
export function connect(url, options) {
  const { project, transport = "auto", limits = {} } = options ?? {};
  if (typeof project !== "string" || project === "") throw new TypeError("connect needs the id of a project");
  if (!["auto", ...TRANSPORTS].includes(transport)) throw new TypeError(`no transport: ${transport}`);
  const unknown = Object.keys(limits).find((name) => !(name in LIMITS));
  if (unknown !== undefined) throw new TypeError(`no limit: ${unknown}`);
  return new Connection(url, options);
}
