// One subscription over all its connections: which way it is carried, when it is tried again, and who is told.

import { Backoff } from "./backoff.js";
import { Check } from "./check.js";
import { Pace } from "./pace.js";
import { ProtocolError } from "./position.js";
import { Refused } from "./refused.js";
import { Silence } from "./silence.js";

/**
 * @typedef {"connecting" | "live" | "reconnecting" | "stale" | "polling" | "failed" | "refused" | "closed"} StateName
 *
 * @typedef {object} State
 * @property {StateName} state
 * @property {import("./ladder.js").TransportName | null} transport
 * @property {string} why there is no connection, for a reader
 * @property {number | null} at time of the next try
 * @property {boolean} first nothing was loaded so far
 * @property {number} heardAt time of the last sign of life
 * @property {Refused | null} problem
 *
 * @typedef {object} Port one who is told
 * @property {(frame: import("./tracker.js").Frame) => void} frame
 * @property {(state: State) => void} state
 * @property {() => void} heard
 * @property {() => string | null} [about] the session that its reader looks at, for reports
 * @property {Port} [shared] tells all others like it at once
 */

export class Feed {
  #hub;
  #wanted; // project and filter
  #replica;
  #ladder;
  #pace;
  #backoff;
  #check;
  #ports = new Map(); // those who know what we know
  #waiting = new Map(); // those who are told as soon as we know it
  #link = null; // the stream that is used
  #candidate = null; // a better one, about to be
  #carrier = null; // name of the one that was shown last
  #state = "connecting";
  #why = "";
  #at = null;
  #problem = null;
  #loaded;
  #stale = false;
  #tries = 0;
  #silence;
  #timers = { again: null, climb: null };
  #closed = false;

  /**
   * @param {import("./hub.js").Hub} hub
   * @param {{project: string, filter: import("./requests.js").Filter}} wanted
   * @param {import("./replica.js").Replica} replica what is known already
   */
  constructor(hub, wanted, replica) {
    const { limits } = hub;
    this.#hub = hub;
    this.#wanted = wanted;
    this.#replica = replica;
    this.#loaded = replica.whole;
    this.#ladder = hub.ladder;
    const { task, session, thread } = wanted.filter;
    this.#pace = new Pace(session && !task && !thread ? "sessions" : "wide");
    this.#backoff = new Backoff({ base: limits.backoffBaseS, cap: limits.backoffCapS });
    this.#silence = new Silence(limits, () => this.#isStale());
    const checked = (frame, message) => this.#checked(frame, message);
    this.#check = new Check(hub, wanted, replica, checked, () => this.#silence.unexpected);
    this.#connect();
  }

  get empty() {
    return this.#ports.size + this.#waiting.size === 0;
  }

  /** All who are told, or wait for it. */
  names() {
    return [...this.#ports.keys(), ...this.#waiting.keys()];
  }

  /** @returns {State} */
  get state() {
    return {
      state: this.#state,
      transport: this.#link?.name ?? null,
      why: this.#why,
      at: this.#at,
      first: !this.#loaded,
      heardAt: this.#silence.heardAt,
      problem: this.#problem,
    };
  }

  /**
   * Tell one more, from where it is.
   * @param {any} id
   * @param {Port} port
   * @param {{position: string | null, snapshot: import("./tracker.js").SnapshotWish}} from
   */
  join(id, port, from) {
    // What was said to those before may be otherwise by now.
    if (this.#state === "refused" || this.#state === "failed") this.retry();
    port.state(this.state);
    if (this.#replica.whole) this.#admit(id, port, from);
    else this.#waiting.set(id, [port, from]);
  }

  leave(id) {
    this.#ports.delete(id);
    this.#waiting.delete(id);
  }

  close() {
    this.#closed = true;
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#silence.stop();
    this.#check.close();
    this.#candidate?.close();
    this.#link?.close();
    this.#link = this.#candidate = null;
  }

  /** Try now instead of later; with a connection, nothing. */
  retry() {
    if (this.#closed || this.#link !== null) return;
    if (!this.#loaded) this.#tries = 0;
    this.#connect();
  }

  /**
   * The network or the page came back: look whether the connection lives.
   * @param {boolean} moved whether the network may be another one
   */
  wake(moved) {
    if (this.#link === null) {
      if (this.#state !== "refused") this.retry();
      return;
    }
    if (this.#link.probe) this.#link.probe();
    else if (this.#link.wake) this.#link.wake();
    else if (moved || this.#silence.seconds > this.#hub.limits.heartbeatS + 2) this.#connect();
    this.#climbLater();
  }

  /** Something was changed: a poll that waits would tell of it late, or never. */
  nudge() {
    this.#link?.wake?.();
  }

  /** Compare with the server now. */
  async refresh() {
    this.retry();
    this.#link?.wake?.();
    return this.#check.now();
  }

  #use() {
    return this.#hub.use(this.#wanted.project);
  }

  #connect() {
    clearTimeout(this.#timers.again);
    clearTimeout(this.#timers.climb);
    this.#candidate?.close();
    this.#candidate = null;
    this.#link?.close();
    this.#replica.connecting();
    this.#link = this.#open(this.#use());
    this.#silence.stop(); // before its first word a stream has bounds of its own
    this.#show(this.#stale ? "stale" : "connecting");
  }

  #open(name) {
    const link = { name, said: false, over: false, close: () => {}, probe: null, wake: null };
    const mine = () => !this.#closed && !link.over;
    const sink = {
      frame: (frame) => mine() && this.#hear(link, frame),
      heard: () => mine() && link === this.#link && this.#heard(),
      end: (failure) => mine() && this.#ended(link, failure),
      pace: (changed) => this.#paced(changed),
      position: () => this.#replica.position,
      push: (state) => this.#push(state),
    };
    const { position, wish } = this.#replica;
    const handle = this.#hub.open(name, { ...this.#wanted, position, snapshot: wish }, sink);
    link.probe = handle.probe ?? null;
    link.wake = handle.wake ?? null;
    link.close = () => {
      link.over = true;
      handle.close();
    };
    return link;
  }

  #hear(link, frame) {
    if (link === this.#candidate) {
      this.#link?.close();
      this.#link = link;
      this.#candidate = null;
      this.#replica.connecting();
    }
    this.#heard();
    if (!link.said) {
      link.said = true;
      this.#hub.stats.transports[link.name] += 1;
      if (link.name !== "websocket") this.#ladder.worked(link.name, this.#hub.now());
      this.#silence.watch(link.name === "poll" ? "poll" : "push");
      this.#climbLater();
    }
    try {
      this.#take(frame);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#replica.forget(); // what such a stream has told is not to be built on
      this.#ended(link, { why: "cut", problem: new Refused(0, "protocol", error.message) });
    }
  }

  #take(frame) {
    const { items } = this.#replica.take(frame);
    const events = items.flatMap((item) => item.event ?? item.delta ?? []);
    for (const item of items) {
      if (item.opened?.state === "gap") this.#hub.stats.gaps += 1;
      else if (item.resync !== undefined) this.#hub.stats.resyncs += 1;
      if (item.snapshot) this.#tell({ ...frame, op: "snapshot", resources: item.snapshot.resources, more: false });
      else if (item.resync !== undefined || (item.opened && item.opened.state !== "resumed")) this.#tell(frame);
    }
    if (events.length > 0) this.#tell({ op: "events", events });
    else if (frame.op === "heartbeat") this.#tell(frame);
    if (frame.op !== "subscribed") this.#backoff.reset();
    if (this.#replica.whole) this.#isWhole();
  }

  #tell(frame) {
    for (const port of this.#told()) port.frame(frame);
  }

  // Other tabs are told once, however many they are.
  #told() {
    return new Set([...this.#ports.values()].map((port) => port.shared ?? port));
  }

  #isWhole() {
    this.#loaded = true;
    this.#tries = 0;
    this.#stale = false;
    for (const [id, [port, from]] of this.#waiting) this.#admit(id, port, from);
    this.#waiting.clear();
    const { name } = this.#link;
    const state = name === "poll" ? "polling" : "live";
    if (this.#state === state && this.#carrier === name) return;
    this.#carrier = name;
    this.#show(state);
    this.#check.begin();
    this.#hub.reports.flush();
  }

  #admit(id, port, { position, snapshot }) {
    for (const frame of this.#replica.framesFrom(position, snapshot)) port.frame(frame);
    this.#ports.set(id, port);
    port.state(this.state);
  }

  #checked(frame, message) {
    this.#tell(frame);
    if (message !== undefined) this.#report("mismatch", message);
  }

  #ended(link, failure) {
    link.close();
    const { why, problem = null } = failure;
    const told = ["unreachable", "refused", "silent", "cut", "push_disabled"].includes(why) && !failure.counted;
    if (told) this.#ladder.failed(link.name, why, this.#hub.now(), this.#wanted.project);
    if (link === this.#candidate) {
      this.#candidate = null;
      this.#climbLater(this.#hub.limits.firstFrameS);
      return;
    }
    this.#link = null;
    this.#silence.stop();
    this.#check.close();
    const useless = problem?.code === "bad_cursor" && this.#replica.position !== null;
    if (useless) this.#replica.forget();
    if (why === "problem" && !useless && !problem.passing) {
      this.#problem = problem;
      this.#show("refused", problem.message);
      return;
    }
    this.#hub.stats.reconnects += this.#loaded ? 1 : 0;
    // Another way is tried at once, unless all who were sent away would be there at the same time.
    const asked = (failure.retryMs ?? 0) / 1000;
    if (useless || this.#use() !== link.name) this.#wait(Math.random() * asked, null);
    else this.#again(asked, failure);
  }

  #again(asked, { why, problem = null, reason }) {
    this.#problem = problem ?? (why === "goodbye" ? null : new Refused(0));
    if (this.#loaded || this.#problem === null) {
      this.#wait(this.#backoff.next(asked), reason ?? this.#problem?.message ?? why);
      return;
    }
    const waits = this.#hub.limits.firstLoadS;
    if (this.#tries === 0) this.#report("load_failed", `${why}: ${this.#problem.message}`);
    if (this.#tries >= waits.length) {
      this.#show("failed", this.#problem.message);
    } else {
      this.#tries += 1;
      this.#wait(Math.min(asked, 300) + waits[this.#tries - 1], this.#problem.message);
    }
  }

  // `why` null: nobody need know.
  #wait(seconds, why) {
    clearTimeout(this.#timers.again);
    this.#timers.again = setTimeout(() => this.#connect(), seconds * 1000);
    if (why !== null) this.#show(this.#stale ? "stale" : "reconnecting", why, Date.now() + seconds * 1000);
  }

  #heard() {
    this.#silence.heard();
    for (const port of this.#told()) port.heard();
  }

  #isStale() {
    const name = this.#link.name;
    this.#report("stale", `Nothing was heard since ${new Date(this.#silence.heardAt).toISOString()}.`);
    this.#hub.stats.staleTimes += 1;
    this.#stale = true;
    if (name !== "websocket") this.#ladder.failed(name, "cut", this.#hub.now());
    else this.#hub.ladderFailed("cut");
    this.#show("stale");
    this.#connect();
  }

  #report(kind, message) {
    const { session } = this.#wanted.filter;
    const transport = this.#link?.name ?? this.#use();
    const heardAt = this.#loaded ? this.#silence.heardAt : null;
    this.#hub.reports.add(kind, message, { session: session?.[0] ?? this.#about(), heardAt, transport });
  }

  #about() {
    const ports = [...this.#ports.values(), ...[...this.#waiting.values()].map(([port]) => port)];
    return ports.map((port) => port.about?.()).find(Boolean);
  }

  #paced(changed) {
    const statuses = [...this.#replica.mirror.sessions.values()].map(({ status }) => status);
    const pace = this.#pace.next(statuses, changed);
    if (this.#link?.name === "poll") this.#silence.watch("poll", pace);
    return pace;
  }

  #push(state) {
    this.#ladder.push(state, this.#wanted.project);
    if (state === "off") return;
    this.#climb();
    this.#climbLater();
  }

  // Up again as soon as a higher way may be tried; the one that is used goes on until the other speaks.
  #climbLater(least = 0) {
    clearTimeout(this.#timers.climb);
    if (this.#link === null || this.#closed) return;
    const at = this.#ladder.nextAbove(this.#link.name, this.#wanted.project);
    if (at === null) return;
    const seconds = this.#hub.seconds(Math.max(at - this.#hub.now(), 0));
    this.#timers.climb = setTimeout(() => this.#climb(), Math.max(seconds, least) * 1000 + 20);
  }

  #climb() {
    if (this.#candidate !== null || this.#link === null || !this.#hub.above(this.#use(), this.#link.name)) return;
    this.#candidate = this.#open(this.#use());
  }

  #show(state, why = "", at = null) {
    this.#state = state;
    this.#why = why;
    this.#at = at;
    if (state !== "failed" && state !== "refused" && at === null) this.#problem = null;
    const told = this.state;
    for (const port of this.#told()) port.state(told);
    for (const [port] of this.#waiting.values()) port.state(told);
  }
}
