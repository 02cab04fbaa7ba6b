// The present state of what a subscription covers, out of its snapshots and events. No I/O.

import { parsePosition } from "./position.js";

/**
 * One resource that is another one now. `before` or `after` is null where there is none; of one that left, `last` is
 * the last that was said of it.
 * @typedef {{kind: string, id: string, before: any, after: any, last?: any}} Change
 */

const TOLD_OF_PROVIDER = ["head_provider_session_id", "totals", "reason", "attempt"];
const TOLD_OF_THREAD = ["removed", "count", "reason"];
const TOLD_OF_SESSION = ["resume"];
const SESSIONS = typesOf("session", ["created", "updated", "replaced", "deleted", "resumed", "resume_decided"]);
const PROVIDERS = typesOf("provider_session", ["started", "updated", "ended", "resume_failed"]);
const THREADS = typesOf("thread", ["created", "pruned", "quarantined"]);
const MAPS = ["tasks", "sessions", "providerSessions", "totals", "threads", "messages"];
const ZERO = {
  total_tokens: 0,
  total_cached_tokens: 0,
  total_turns: 0,
  total_cost: 0,
  cost_known: true,
  num_iterations: 0,
  avg_tokens_per_iteration: 0,
};
const KINDS = ["task", "session", "provider", "thread", "message"];

/**
 * Within an epoch the highest version of a resource wins. Output does not raise the version of its session: of two
 * equal ones the newest of either field is kept.
 */
export class MirrorState {
  /** @type {Map<string, any>} */ tasks = new Map();
  /** @type {Map<string, any>} live ones */ sessions = new Map();
  /** @type {Map<string, any>} by id of the row */ providerSessions = new Map();
  /** @type {Map<string, any>} by task, as far as they were told */ totals = new Map();
  /** @type {Map<string, any>} by `threadKey` */ threads = new Map();
  /** @type {Map<string, Map<number, any>>} by `threadKey` and `seq` */ messages = new Map();
  /** @type {string[] | null} a snapshot that was too large names the lists to read instead */ read = null;
  /** @type {{kind: string, data: any}[]} of kinds that this module does not know */ others = [];
  #gone = new Map(); // versions of sessions that left since the last snapshot: nothing older brings one back
  #doubted = new WeakSet(); // what was told in another life of the log: whatever is said now is newer
  #epoch = null;
  #kinds;

  /**
   * @param {string[] | null} [kinds] those of the filter. Where it covers sessions, a provider session of one that is
   *   not there is of one that has left; where it does not, nobody tells of leaving.
   */
  constructor(kinds = null) {
    this.#kinds = kinds;
  }

  /**
   * Take an item of the tracker.
   * @param {import("./tracker.js").Item} item
   * @returns {Change[]}
   */
  take(item) {
    if (item.snapshot) return this.#snapshot(item.snapshot);
    return item.event ? this.#event(item.event) : [];
  }

  /**
   * What a snapshot of now would hold.
   * @returns {{kind: string, data: any}[]}
   */
  resources() {
    const of = (kind, values) => [...values].map((data) => ({ kind, data }));
    return [
      ...of("task", this.tasks.values()),
      ...of("session", this.sessions.values()),
      ...of("provider", this.providerSessions.values()),
      ...of("thread", this.threads.values()),
      ...[...this.messages.keys()].flatMap((key) => of("message", inOrder(this.messages.get(key)))),
      ...this.others,
    ];
  }

  /**
   * Take what was read somewhere else, where it is newer than what is known.
   * @param {string} kind
   * @param {any} data
   * @returns {Change[]}
   */
  put(kind, data) {
    if (kind === "task") return this.#task(data);
    if (kind === "session") return this.#session(data);
    if (kind === "provider") return this.#provider(data);
    if (kind === "thread") return this.#thread(data);
    return kind === "message" ? this.#message(data) : [];
  }

  /**
   * Let something go that is not there any more.
   * @param {string} kind
   * @param {string} key
   * @returns {Change[]}
   */
  drop(kind, key) {
    if (kind === "session") return this.#leave(key, null);
    if (kind === "thread") return this.#dropThread(key, null);
    const map = { task: this.tasks, provider: this.providerSessions }[kind];
    return map === undefined ? [] : removed(kind, key, map);
  }

  /**
   * Take what the server has over what is known.
   * @param {{put: {kind: string, data: any}[], drop: [string, string][]}} correction `drop`: kinds and keys
   * @returns {Change[]}
   */
  correct({ put, drop }) {
    for (const { kind, data } of put) if (kind === "session") this.#gone.delete(data.id);
    return [
      ...drop.flatMap(([kind, key]) => this.drop(kind, key)),
      ...put.flatMap(({ kind, data }) => this.put(kind, data)),
    ];
  }

  /** @returns {MirrorState} one of its own with the same resources */
  copy() {
    const copy = new MirrorState(this.#kinds);
    for (const name of ["tasks", "sessions", "providerSessions", "totals", "threads"]) copy[name] = new Map(this[name]);
    for (const [key, messages] of this.messages) copy.messages.set(key, new Map(messages));
    copy.read = this.read;
    copy.others = this.others;
    copy.#gone = new Map(this.#gone);
    copy.#doubted = this.#doubted;
    copy.#epoch = this.#epoch;
    return copy;
  }

  #snapshot({ resources, position, tooLarge, read }) {
    const { epoch } = parsePosition(position);
    this.read = tooLarge ? read : null;
    const renewed = this.#epoch !== null && this.#epoch !== epoch;
    this.#epoch = epoch;
    if (tooLarge) {
      // It says nothing of what is there, so nothing goes; but versions of another life of the log say nothing, either.
      if (renewed) this.#doubt();
      return [];
    }
    const before = this.copy();
    for (const name of MAPS) this[name] = new Map();
    this.#gone.clear();
    this.others = [];
    for (const resource of resources) {
      if (KINDS.includes(resource.kind)) {
        this.put(resource.kind, resource.data);
      } else this.others.push(resource);
    }
    return [
      ...compared("task", before.tasks, this.tasks),
      ...compared("session", before.sessions, this.sessions),
      ...compared("provider", before.providerSessions, this.providerSessions),
      ...compared("thread", before.threads, this.threads),
      ...compared("totals", before.totals, this.totals),
      ...compared("message", byId(before.messages), byId(this.messages)),
    ];
  }

  #doubt() {
    this.#gone.clear();
    for (const map of [this.tasks, this.sessions, this.threads]) {
      for (const data of map.values()) this.#doubted.add(data);
    }
  }

  #older(data, known) {
    return known !== null && known.version > data.version && !this.#doubted.has(known);
  }

  #event(event) {
    const { type, data } = event;
    this.#epoch ??= parsePosition(event.position).epoch;
    if (type === "task.created" || type === "task.updated") return this.#task(data);
    if (type === "session.output") return this.#output(event);
    if (SESSIONS.includes(type) && data.id) return this.#session(without(data, TOLD_OF_SESSION));
    if (PROVIDERS.includes(type)) return this.#use(data);
    if (type === "thread.deleted") return this.#dropThread(threadKey(data.id, data.user), data);
    if (THREADS.includes(type)) return this.#pruned(data);
    return type === "message.created" || type === "message.popped" ? this.#said(type, data) : [];
  }

  #task(data) {
    const known = this.tasks.get(data.id) ?? null;
    return this.#older(data, known) ? [] : changed("task", this.tasks, data.id, data);
  }

  #session(data) {
    const known = this.sessions.get(data.id) ?? null;
    if (data.deleted_at) return this.#older(data, known) ? [] : this.#leave(data.id, data);
    if ((this.#gone.get(data.id) ?? 0) >= data.version || this.#older(data, known)) return [];
    this.#gone.delete(data.id);
    const fresh = known === null || this.#doubted.has(known);
    const merged = fresh ? data : withActivity(data, known.output_seq, known.last_activity_at);
    return changed("session", this.sessions, data.id, merged);
  }

  #output({ session_id, at, data }) {
    const known = this.sessions.get(session_id);
    return known ? changed("session", this.sessions, session_id, withActivity(known, data.last, at)) : [];
  }

  #leave(id, last) {
    this.#gone.set(id, last?.version ?? Infinity);
    const changes = removed("session", id, this.sessions, last);
    for (const [row, { session_id }] of this.providerSessions) {
      if (session_id === id) changes.push(...removed("provider", row, this.providerSessions));
    }
    return changes;
  }

  // An event of a provider session tells of its session and its task, too.
  #use(data) {
    const { totals, task_id } = data;
    const changes = totals && task_id ? changed("totals", this.totals, task_id, { ...ZERO, ...totals }) : [];
    if (!this.sessions.has(data.session_id) && (this.#kinds?.includes("session") ?? true)) return changes;
    changes.push(...this.#provider(without(data, TOLD_OF_PROVIDER)));
    const session = this.sessions.get(data.session_id);
    const head = data.head_provider_session_id;
    if (session && head !== undefined && session.head_provider_session_id !== head) {
      changes.push(...changed("session", this.sessions, session.id, { ...session, head_provider_session_id: head }));
    }
    return changes;
  }

  #provider(data) {
    return changed("provider", this.providerSessions, data.id, data);
  }

  #thread(data) {
    const key = threadKey(data.id, data.user);
    return this.#older(data, this.threads.get(key) ?? null) ? [] : changed("thread", this.threads, key, data, data.id);
  }

  #dropThread(key, last) {
    if (last !== null && this.#older(last, this.threads.get(key) ?? null)) return [];
    const messages = this.messages.get(key) ?? new Map();
    this.messages.delete(key);
    const id = this.threads.get(key)?.id;
    const changes = removed("thread", key, this.threads, last && without(last, TOLD_OF_THREAD), id);
    for (const last of inOrder(messages)) {
      changes.push({ kind: "message", id: last.id, before: last, after: null, last });
    }
    return changes;
  }

  #message(data) {
    const key = threadKey(data.thread_id, data.user);
    if (!this.messages.has(key)) this.messages.set(key, new Map());
    return changed("message", this.messages.get(key), data.seq, data, data.id);
  }

  #said(type, { thread, ...message }) {
    const key = threadKey(thread.id, thread.user);
    if (this.#older(thread, this.threads.get(key) ?? null)) return []; // a check has put in something newer
    const changes = this.#thread(thread);
    if (type === "message.created") return [...this.#message(message), ...changes];
    const messages = this.messages.get(key) ?? new Map();
    return [...removed("message", message.seq, messages, message, message.id), ...changes];
  }

  #pruned({ removed: ranges = [], ...thread }) {
    const key = threadKey(thread.id, thread.user);
    if (this.#older(thread, this.threads.get(key) ?? null)) return [];
    const messages = this.messages.get(key) ?? new Map();
    const inside = ({ seq }) => ranges.some(([first, last]) => first <= seq && seq <= last);
    const gone = [...messages.values()].filter(inside);
    const changes = gone.flatMap(({ seq, id }) => removed("message", seq, messages, null, id));
    return [...changes, ...this.#thread(without(thread, TOLD_OF_THREAD))];
  }
}

function typesOf(what, happened) {
  return happened.map((word) => `${what}.${word}`);
}

/**
 * Ids of threads are unique per user only.
 * @param {string} id
 * @param {string} user
 */
export function threadKey(id, user) {
  return `${id} ${user}`;
}

/** Messages of a thread, oldest first. */
export function inOrder(messages) {
  return [...messages.values()].sort((a, b) => a.seq - b.seq);
}

/** Whether two JSON values of one shape are the same. */
export function same(a, b) {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

function withActivity(session, seq, at) {
  const last = Date.parse(session.last_activity_at) >= Date.parse(at) ? session.last_activity_at : at;
  return { ...session, output_seq: Math.max(session.output_seq, seq), last_activity_at: last };
}

function without(data, names) {
  if (!names.some((name) => name in data)) return data;
  return Object.fromEntries(Object.entries(data).filter(([name]) => !names.includes(name)));
}

function changed(kind, map, key, after, id = key) {
  const before = map.get(key) ?? null;
  if (before !== null && same(before, after)) return [];
  map.set(key, after);
  return [{ kind, id, before, after }];
}

function removed(kind, key, map, last = null, id = key) {
  const before = map.get(key) ?? null;
  if (before === null) return [];
  map.delete(key);
  return [{ kind, id, before, after: null, last: last ?? before }];
}

function compared(kind, before, after) {
  const changes = [];
  for (const [key, old] of before) {
    if (!after.has(key)) changes.push({ kind, id: old.id ?? key, before: old, after: null, last: old });
  }
  for (const [key, now] of after) {
    const old = before.get(key) ?? null;
    if (old === null || !same(old, now)) changes.push({ kind, id: now.id ?? key, before: old, after: now });
  }
  return changes;
}

function byId(messages) {
  const all = [...messages.values()].flatMap((of) => [...of.values()]);
  return new Map(all.map((message) => [`${message.user} ${message.id}`, message]));
}
