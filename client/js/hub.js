// A page's connections to one server: what they share, and with whom.

import { Cache } from "./cache.js";
import { openEventStream } from "./eventstream.js";
import { Feed } from "./feed.js";
import { Identity } from "./identity.js";
import { Ladder, TRANSPORTS } from "./ladder.js";
import { LIMITS } from "./limits.js";
import { newName } from "./names.js";
import { openPoll } from "./poll.js";
import { Refused } from "./refused.js";
import { Replica } from "./replica.js";
import { Reports } from "./reports.js";
import { Requests } from "./requests.js";
import { Stats } from "./stats.js";
import { SHARES, Tabs } from "./tabs.js";
import { Sockets } from "./websocket.js";

const ASIDE_S = 60; // of the ladder, whose clock runs faster where `limits.asideS` is less

/** @type {Hub[]} those in use, so that all connections of a page share one */
const hubs = [];

/**
 * @typedef {object} HubOptions
 * @property {string | (() => string | null | Promise<string | null>) | null} [token]
 * @property {"auto" | import("./ladder.js").TransportName} [transport]
 * @property {boolean} [share] with other tabs, and other connections of this one
 * @property {RequestCredentials} [credentials]
 * @property {Partial<import("./limits.js").Limits>} [limits]
 */

export class Hub {
  /** @type {import("./limits.js").Limits} */ limits;
  stats;
  #key;
  ladder = new Ladder();
  #transport;
  #sockets;
  #feeds = new Map();
  #clients = new Map(); // connections of this page: {wanted, key, replica, port, snapshot, admitted}
  #shared = new Map(); // ports that tell all other tabs, by feed
  #calls = new Map(); // answers that are awaited of the tab that leads
  #role = "undecided"; // or alone, leader, follower
  #tabs = null;
  #page = newName();
  #next = 1;
  #events = new AbortController();
  #closed = false;

  /**
   * The hub of a page for a server.
   * @param {string} url
   * @param {HubOptions} options
   */
  static of(url, options) {
    const { token = null, transport = "auto", share = true, credentials, limits } = options;
    const key = [url, token, transport, credentials, JSON.stringify(limits ?? {})];
    const known = share && hubs.find((hub) => hub.#key?.every((part, at) => part === key[at]));
    if (known) return known;
    const hub = new Hub(url, options);
    if (share) {
      hub.#key = key;
      hubs.push(hub);
    }
    return hub;
  }

  /** Use `Hub.of`. */
  constructor(url, { token = null, transport = "auto", share = true, credentials, limits } = {}) {
    this.limits = { ...LIMITS, ...limits };
    this.stats = new Stats(this.limits.largeBytes);
    this.#transport = transport;
    this.requests = new Requests(url, new Identity(token, this.limits.renewS), this.limits, this.stats, credentials);
    this.reports = new Reports(this.requests);
    this.cache = new Cache(this.requests);
    this.#sockets = new Sockets(this.requests, {
      worked: () => this.ladder.worked("websocket", this.now()),
      failed: (why) => this.ladderFailed(why),
    });
    this.#listen();
    if (share && SHARES && transport === "auto") this.#share();
    else this.#become("alone");
  }

  /** Time by the ladder's clock. */
  now() {
    return (Date.now() / 1000) * (ASIDE_S / this.limits.asideS);
  }

  /** @param {number} seconds of the ladder's clock */
  seconds(seconds) {
    return (seconds * this.limits.asideS) / ASIDE_S;
  }

  /** The WebSocket did not open, or broke. */
  ladderFailed(why) {
    this.ladder.failed("websocket", why, this.now());
  }

  use(project) {
    return this.#transport === "auto" ? this.ladder.use(this.now(), project) : this.#transport;
  }

  above(one, other) {
    return TRANSPORTS.indexOf(one) < TRANSPORTS.indexOf(other);
  }

  open(name, wanted, sink) {
    if (name === "websocket") return this.#sockets.open(wanted, sink);
    return name === "sse" ? openEventStream(this.requests, wanted, sink) : openPoll(this.requests, wanted, sink);
  }

  /**
   * Tell a port of this page.
   * @param {{project: string, filter: import("./requests.js").Filter}} wanted
   * @param {Replica} replica what it knows
   * @param {import("./feed.js").Port} port
   * @param {import("./tracker.js").SnapshotWish} snapshot
   * @returns {string} its name
   */
  attach(wanted, replica, port, snapshot) {
    const id = `${this.#page}/${this.#next++}`;
    this.#clients.set(id, { wanted, key: keyOf(wanted), replica, port, snapshot, admitted: false });
    this.#place(id);
    return id;
  }

  detach(id) {
    const client = this.#clients.get(id);
    this.#clients.delete(id);
    if (client === undefined) return;
    if (this.#role === "follower") this.#tabs.say({ op: "leave", id });
    else this.#leave(client.key, id);
    if (this.#clients.size === 0) this.#close();
  }

  /** Tell a port from the beginning, or from where its replica is. */
  again(id) {
    const client = this.#clients.get(id);
    if (client === undefined) return;
    if (this.#role !== "follower") this.#leave(client.key, id);
    this.#place(id);
  }

  /** Try now instead of later. */
  retry(id) {
    const { key } = this.#clients.get(id);
    if (this.#role === "follower") this.#tabs.say({ op: "retry", key });
    else this.#feeds.get(key)?.retry();
  }

  /** This page has changed something. */
  nudge() {
    if (this.#role === "follower") this.#tabs.say({ op: "nudge" });
    else for (const feed of this.#feeds.values()) feed.nudge();
  }

  /** Compare with the server now. */
  async refresh(id) {
    const { key } = this.#clients.get(id);
    if (this.#role !== "follower") return (await this.#feeds.get(key)?.refresh()) ?? { checked: false, mismatches: 0 };
    const call = newName();
    this.#tabs.say({ op: "refresh", key, call });
    return new Promise((resolve) => {
      this.#calls.set(call, resolve);
      const waits = this.limits.requestS + this.limits.checkWaitS;
      setTimeout(() => this.#answered(call, { checked: false, mismatches: 0 }), waits * 1000);
    });
  }

  #answered(call, answer) {
    this.#calls.get(call)?.(answer);
    this.#calls.delete(call);
  }

  async #share() {
    const name = `${this.requests.origin} ${await this.requests.identity.name().catch(() => Math.random())}`;
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(name));
    if (this.#closed) return;
    const hash = [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const on = {
      lead: () => this.#become("leader"),
      follow: () => this.#become("follower"),
      hear: (message) => this.#hear(message),
      gone: (tab) => this.#gone(tab),
    };
    this.#tabs = new Tabs(`sessioncast:${hash}`, this.#page, on, this.limits);
  }

  #become(role) {
    if (this.#closed) return;
    this.#role = role;
    if (role === "follower") this.#closeFeeds();
    for (const id of this.#clients.keys()) this.#place(id);
  }

  #place(id) {
    const { wanted, key, replica, port, snapshot } = this.#clients.get(id);
    const from = { position: replica.position, snapshot };
    if (this.#role === "undecided") return;
    replica.connecting();
    if (this.#role === "follower") {
      this.#clients.get(id).admitted = false;
      this.#tabs.say({ op: "join", id, wanted, key, ...from });
    } else this.#feed(key, wanted, replica).join(id, port, from);
  }

  #feed(key, wanted, replica = null, known = []) {
    if (!this.#feeds.has(key)) {
      const begun = replica === null ? new Replica(this.limits, wanted.filter.kinds) : replica.copy();
      for (const frame of known) begun.take(frame);
      this.#feeds.set(key, new Feed(this, wanted, begun));
    }
    return this.#feeds.get(key);
  }

  #leave(key, id) {
    const feed = this.#feeds.get(key);
    feed?.leave(id);
    if (!feed?.empty) return;
    feed.close();
    this.#feeds.delete(key);
    this.#shared.delete(key);
  }

  #hear(message) {
    if (this.#role === "leader") this.#serve(message);
    else if (this.#role === "follower") this.#follow(message);
  }

  // As the tab that leads.
  async #serve({ op, id, key, wanted, position, snapshot, call, known }) {
    if (op === "join") {
      // Who was told by another tab before knows more than we do: from there it goes on without a gap.
      if (!this.#feeds.has(key) && position !== null && known === undefined) this.#tabs.say({ op: "tell", to: id });
      else this.#feed(key, wanted, null, known).join(id, this.#remote(id, key), { position, snapshot });
    } else if (op === "leave") for (const key of [...this.#feeds.keys()]) this.#leave(key, id);
    else if (op === "nudge") this.nudge();
    else if (op === "retry") this.#feeds.get(key)?.retry();
    else if (op === "refresh") {
      const answer = (await this.#feeds.get(key)?.refresh()) ?? { checked: false, mismatches: 0 };
      this.#tabs?.say({ op: "refreshed", call, answer });
    }
  }

  #remote(id, key) {
    const say = (message) => this.#tabs?.say(message);
    if (!this.#shared.has(key)) {
      let last = 0;
      this.#shared.set(key, {
        frame: (frame) => say({ op: "frame", key, frame }),
        state: (state) => say({ op: "state", key, state: toldOf(state) }),
        // Others need not know of each sign of life.
        heard: () => {
          if (Date.now() - last < 1000) return;
          last = Date.now();
          say({ op: "heard", key });
        },
      });
    }
    return {
      frame: (frame) => say({ op: "frame", to: id, frame }),
      state: (state) => say({ op: "state", to: id, state: toldOf(state) }),
      heard: () => {},
      shared: this.#shared.get(key),
    };
  }

  // As another tab.
  #follow({ op, to, key, frame, state, call, answer }) {
    if (op === "refreshed") {
      this.#answered(call, answer);
      return;
    }
    for (const [id, client] of this.#clients) {
      // Before it is brought to where the others are, what those are told would leave a hole.
      if (to === undefined ? client.key !== key || (op === "frame" && !client.admitted) : to !== id) continue;
      if (op === "tell") {
        const { wanted, key: its, replica, snapshot } = client;
        const known = replica.framesFrom(null, "auto");
        this.#tabs.say({ op: "join", id, wanted, key: its, position: replica.position, snapshot, known });
      } else if (op === "state") client.port.state({ ...state, problem: Refused.fromJSON(state.problem) });
      else client.port.heard();
      if (op !== "frame") continue;
      client.admitted = true;
      client.port.frame(frame);
    }
  }

  #gone(tab) {
    for (const [key, feed] of [...this.#feeds]) {
      for (const id of feed.names()) if (id.startsWith(`${tab}/`)) this.#leave(key, id);
    }
  }

  // The network or the page is there again.
  #listen() {
    const { signal } = this.#events;
    const wake = (moved) => {
      if (moved) this.ladder.forget();
      this.#tabs?.look();
      for (const feed of this.#feeds.values()) feed.wake(moved);
    };
    globalThis.addEventListener?.("online", () => wake(true), { signal });
    globalThis.addEventListener?.("pagehide", () => this.#suspend(), { signal });
    globalThis.addEventListener?.("pageshow", ({ persisted }) => persisted && this.#resume(), { signal });
    const visible = () => document.visibilityState === "visible" && wake(false);
    globalThis.document?.addEventListener("visibilitychange", visible, { signal });
  }

  // A page that goes gives way at once, and one that is kept for later holds nothing up.
  #suspend() {
    this.#closeFeeds();
    this.#tabs?.leave();
    this.#role = "undecided";
  }

  #resume() {
    if (this.#tabs !== null) this.#share();
    else this.#become("alone");
  }

  #closeFeeds() {
    for (const feed of this.#feeds.values()) feed.close();
    this.#feeds.clear();
    this.#shared.clear();
  }

  #close() {
    this.#closed = true;
    this.#suspend();
    this.#events.abort();
    if (hubs.includes(this)) hubs.splice(hubs.indexOf(this), 1);
  }
}

function keyOf({ project, filter }) {
  return JSON.stringify([project, filter]);
}

function toldOf(state) {
  return { ...state, problem: state.problem?.toJSON() ?? null };
}
