// Answers to reads, kept in memory for a moment.

import { jittered } from "./pace.js";
import { reaches } from "./position.js";

/**
 * @typedef {object} Answer
 * @property {any} body
 * @property {boolean} stale it is older than it should be, and is being read anew
 * @property {string | null} position of the log that it was read at
 * @property {number} at time it was read
 */

const EARLY = 0.8; // from here on a read is answered and repeated in the background
const AGAIN = 3; // an answer that an event has overtaken is asked for again so often

/** One entry is read by one request at a time, however many ask. */
export class Cache {
  #requests;
  #entries = new Map(); // by path, the least recently used first
  #reading = new Map(); // promises by path
  #told = new Map(); // by path that is being read: position of the last event about it, or "" for a change of our own

  /** @param {import("./requests.js").Requests} requests */
  constructor(requests) {
    this.#requests = requests;
  }

  /**
   * The answer to a GET.
   * @param {string} path
   * @returns {Promise<Answer>}
   * @throws {import("./refused.js").Refused}
   */
  async get(path) {
    const { stats, limits } = this.#requests;
    const entry = this.#entries.get(path);
    const now = Date.now();
    if (entry === undefined || now > entry.until + limits.cacheStaleS * 1000) {
      stats.cacheMisses += 1;
      return answerOf(await this.#read(path), false);
    }
    this.#keep(path, entry);
    const stale = now > entry.until;
    if (stale) stats.cacheStale += 1;
    else stats.cacheHits += 1;
    if (now > entry.at + (entry.until - entry.at) * EARLY) this.#read(path).catch(() => {}); // the next one may succeed
    return answerOf(entry, stale);
  }

  /** Keep an answer that is known to be the newest. */
  put(path, body, { etag = null, position = null } = {}) {
    const at = Date.now();
    this.#keep(path, { body, etag, position, at, until: at + jittered(this.#requests.limits.cacheS) * 1000 });
  }

  /**
   * Let go of every answer whose path holds one of these texts.
   * @param {(string | null | undefined)[]} texts ids, mostly
   * @param {string} [position] of the event that says so
   */
  drop(texts, position = "") {
    const named = texts.filter(Boolean);
    const about = (path) => named.some((text) => path.includes(text));
    for (const path of [...this.#entries.keys()].filter(about)) this.#entries.delete(path);
    for (const path of [...this.#reading.keys()].filter(about)) this.#told.set(path, position);
  }

  /**
   * An event: what it carries whole is kept where it was asked for, whatever else it is about goes.
   * @param {any} event
   */
  event({ type, position, project_id, task_id, session_id, thread_id, at, data }) {
    if (this.#entries.size + this.#reading.size === 0) return;
    const path = `/v1/sessions/${session_id}`;
    const known = this.#entries.get(path);
    if (type === "session.output") {
      // Of output there is much: it changes two fields of its session, and no list of the project.
      this.drop([task_id, `${path}/`], position);
      if (this.#reading.has(path)) this.#told.set(path, position);
      if (known === undefined) return;
      const output_seq = Math.max(known.body.output_seq, data.last);
      this.put(path, { ...known.body, output_seq, last_activity_at: at }, { position });
      return;
    }
    const whole = type.startsWith("session.") && data.id === session_id;
    this.drop([task_id, session_id, thread_id, data.id, `/v1/projects/${project_id}/`], position);
    if (known !== undefined && whole && data.version >= known.body.version) this.put(path, data, { position });
  }

  /**
   * A change of our own went well.
   * @param {string} path of the request
   * @param {any} body of the answer
   */
  changed(path, body) {
    const ids = path.match(/[0-9a-f]{8}-[0-9a-f-]{27}/gi) ?? [];
    const project = /^\/v1\/projects\/[^/?]+/.exec(path)?.[0];
    const resources = [body, body?.session, body?.replaced].filter((one) => one?.id);
    for (const { id, task_id, session_id, thread_id, project_id } of resources) {
      ids.push(id, task_id, session_id, thread_id, project_id && `/v1/projects/${project_id}/`);
    }
    this.drop([...ids, project && `${project}/`]);
    for (const session of resources.filter(({ output_seq }) => output_seq !== undefined)) {
      this.put(`/v1/sessions/${session.id}`, session);
    }
  }

  #read(path) {
    if (!this.#reading.has(path)) {
      const reading = this.#fetch(path).finally(() => {
        this.#reading.delete(path);
        this.#told.delete(path);
      });
      this.#reading.set(path, reading);
    }
    return this.#reading.get(path);
  }

  async #fetch(path) {
    for (let again = 1; ; again++) {
      this.#told.delete(path);
      const known = this.#entries.get(path);
      const headers = known?.etag ? { "If-None-Match": known.etag } : {};
      const answer = await this.#requests.json(path, { headers });
      const position = answer.headers.get("X-Position");
      const told = this.#told.get(path);
      const overtaken = told !== undefined && (told === "" || !reaches(position, told));
      if (overtaken && again < AGAIN) continue;
      const body = answer.status === 304 ? known.body : answer.body;
      this.put(path, body, { etag: answer.headers.get("ETag"), position });
      const entry = this.#entries.get(path);
      if (overtaken) this.#entries.delete(path);
      return entry;
    }
  }

  #keep(path, entry) {
    this.#entries.delete(path);
    this.#entries.set(path, entry);
    if (this.#entries.size <= this.#requests.limits.cacheEntries) return;
    const [oldest] = this.#entries.keys();
    this.#entries.delete(oldest);
  }
}

function answerOf({ body, position, at }, stale) {
  return { body, stale, position, at };
}
