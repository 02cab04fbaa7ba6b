// What is known is compared with what the server has: a stream that lost something would never tell of it itself.

import { threadKey } from "./mirror.js";
import { reaches, sameEpoch } from "./position.js";
import { eventsPath } from "./requests.js";

// So many resources are read at each check. Above that an ETag spares what no event has told of, but not each time:
// what changed without an event does not change it.
const SMALL = 500;
const TRUSTED = 9;

// Of a session these change without its version; the stream has its own rules for them.
const UNVERSIONED = new Set(["output_seq", "last_activity_at", "head_provider_session_id"]);

/** @typedef {{op: "corrected", put: {kind: string, data: any}[], drop: [string, string][]}} Correction */

export class Check {
  #hub;
  #wanted;
  #replica;
  #tell;
  #asleep;
  #etag = null;
  #trusted = 0;
  #timer = null;
  #running = null;

  /**
   * @param {import("./hub.js").Hub} hub
   * @param {{project: string, filter: import("./requests.js").Filter}} wanted
   * @param {import("./replica.js").Replica} replica is corrected
   * @param {(frame: Correction | {op: "checked", resources: any[], position: string}, message?: string) => void} tell
   *   what was wrong; and what was read, for those who keep a state of their own
   * @param {() => boolean} asleep whether nothing can change any more, and so nothing is asked
   */
  constructor(hub, wanted, replica, tell, asleep) {
    this.#hub = hub;
    this.#wanted = wanted;
    this.#replica = replica;
    this.#tell = tell;
    this.#asleep = asleep;
  }

  /** Look now and then. Polls tell of events only, so they are checked as streams are. */
  begin() {
    clearTimeout(this.#timer);
    const again = () => this.#timer !== null && this.begin();
    const look = () => (this.#asleep() ? Promise.resolve() : this.now(false)).finally(again);
    this.#timer = setTimeout(look, this.#hub.limits.checkS * 1000);
  }

  close() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }

  /**
   * Compare now; who asks meanwhile gets the same answer.
   * @param {boolean} [whole] read all there is, however much
   * @returns {Promise<{checked: boolean, mismatches: number}>} not checked: the server did not answer, or the stream
   *   is behind
   */
  now(whole = true) {
    this.#running ??= this.#compare(whole)
      .catch(() => ({ checked: false, mismatches: 0 }))
      .finally(() => {
        this.#running = null;
      });
    return this.#running;
  }

  async #compare(whole) {
    const { requests, stats, limits } = this.#hub;
    stats.checks += 1;
    const trusts = !whole && this.#etag !== null && this.#trusted < TRUSTED;
    const headers = trusts ? { "If-None-Match": this.#etag } : {};
    const answer = await requests.json(eventsPath(this.#wanted), { headers });
    this.#trusted = answer.status === 304 ? this.#trusted + 1 : 0;
    if (answer.status === 304) return { checked: true, mismatches: 0 };
    const { position, resources } = answer.body;
    if (!resources || answer.body.too_large) return { checked: false, mismatches: 0 };
    const until = Date.now() + limits.checkWaitS * 1000;
    // A stream that is quiet does not say how far it is: what differs gets the time to arrive, then it is wrong.
    let { put, drop } = this.#differences(resources, position);
    while (put.length + drop.length > 0 && !this.#there(position) && Date.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 25));
      ({ put, drop } = this.#differences(resources, position));
    }
    // In another life of the log, or with a snapshot on its way, the stream itself will set it right.
    if (!this.#replica.whole || !sameEpoch(this.#replica.position, position)) return { checked: false, mismatches: 0 };
    const settled = put.length + drop.length === 0 && resources.length > SMALL;
    this.#etag = settled ? answer.headers.get("ETag") : null;
    const read = { op: "checked", resources, position };
    if (put.length + drop.length === 0) {
      if (resources.length <= SMALL) this.#tell(read);
      return { checked: true, mismatches: 0 };
    }
    stats.mismatches += put.length + drop.length;
    this.#replica.mirror.correct({ put, drop });
    this.#tell({ op: "corrected", put, drop }, mismatchText(put, drop, position));
    if (resources.length <= SMALL) this.#tell(read);
    return { checked: true, mismatches: put.length + drop.length };
  }

  #differences(resources, position) {
    return differences(this.#replica, resources, position, this.#wanted.filter.kinds);
  }

  #there(position) {
    return this.#replica.whole && reaches(this.#replica.position, position);
  }
}

/** For a report. */
export function mismatchText(put, drop, position) {
  const named = [...put.map(({ kind, data }) => `${kind} ${data.id}`), ...drop.map((what) => what.join(" "))];
  return `At ${position} this was not as the server has it: ${named.join(", ")}`;
}

/**
 * What a snapshot has and a replica has not or older, and what only the replica has. What was told after the snapshot
 * is nobody's mistake.
 * @param {import("./replica.js").Replica} replica at the snapshot's position or beyond
 * @param {{kind: string, data: any}[]} resources
 * @param {string} position of the snapshot
 * @param {string[]} [kinds] of the filter
 */
export function differences(replica, resources, position, kinds) {
  const { mirror } = replica;
  const told = new Set();
  for (const { data, task_id, session_id, thread_id } of replica.eventsAfter(position)) {
    for (const id of [data.id, task_id, session_id, thread_id]) told.add(id);
  }
  const { tasks, sessions, providerSessions, threads } = mirror;
  const maps = { task: tasks, session: sessions, provider: providerSessions, thread: threads };
  const output = kinds === undefined || kinds.includes("output");
  const put = resources.filter(({ kind, data }) => {
    if (told.has(data.id) || told.has(data.session_id) || told.has(data.thread_id)) return false;
    if (kind === "message") return !mirror.messages.get(threadKey(data.thread_id, data.user))?.has(data.seq);
    const known = maps[kind]?.get(keyOf(kind, data));
    if (maps[kind] === undefined) return false;
    if (known === undefined) return true;
    if (kind === "provider") return Date.parse(known.last_used_at) < Date.parse(data.last_used_at);
    if (known.version === data.version && kind !== "thread" && differs(known, data)) return true;
    return known.version < data.version || (kind === "session" && output && known.output_seq < data.output_seq);
  });
  const there = new Set(resources.map(({ kind, data }) => `${kind} ${keyOf(kind, data)}`));
  const drop = ["task", "session", "thread"].flatMap((kind) => {
    const only = [...maps[kind]].filter(([key, { id }]) => !told.has(id) && !there.has(`${kind} ${key}`));
    return only.map(([key]) => [kind, key]);
  });
  return { put, drop };
}

function differs(known, data) {
  const names = Object.keys(data).filter((name) => !UNVERSIONED.has(name));
  return names.some((name) => JSON.stringify(known[name]) !== JSON.stringify(data[name]));
}

function keyOf(kind, data) {
  return kind === "thread" ? threadKey(data.id, data.user) : data.id;
}
