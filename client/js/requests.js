// Requests to the server: who we are, how long to wait, and what came.

import { refusal, Refused } from "./refused.js";

/** The server, as all parts of a client reach it. */
export class Requests {
  #identity;
  #credentials;

  /**
   * @param {string} url of the server, empty for that of the page
   * @param {import("./identity.js").Identity} identity
   * @param {import("./limits.js").Limits} limits
   * @param {import("./stats.js").Stats} stats
   * @param {RequestCredentials} [credentials] as for `fetch`
   */
  constructor(url, identity, limits, stats, credentials = "same-origin") {
    this.origin = new URL(url || "/", globalThis.location?.href).href.replace(/\/$/, "");
    this.identity = this.#identity = identity;
    this.limits = limits;
    this.stats = stats;
    this.#credentials = credentials;
  }

  /**
   * An answer of any status; a 401 only after another token was tried.
   * @param {string} path
   * @param {RequestInit & {headers?: Record<string, string>}} [init]
   * @returns {Promise<Response>} rejects as `fetch` does
   */
  async fetch(path, init = {}) {
    const ask = async (fresh) =>
      fetch(this.origin + path, {
        cache: "no-store",
        credentials: this.#credentials,
        ...init,
        headers: await this.#identity.headers(init.headers, { fresh }),
      });
    const response = await ask(false);
    return response.status === 401 && this.#identity.renewable ? ask(true) : response;
  }

  /**
   * A whole answer within `limits.requestS`.
   * @param {string} path
   * @param {RequestInit & {headers?: Record<string, string>, signal?: AbortSignal}} [init]
   * @returns {Promise<{status: number, headers: Headers, body: any}>} body null for an empty one
   * @throws {Refused} any status but 2xx and 304; status 0 for no answer. With `signal` its reason.
   */
  async json(path, init = {}) {
    const deadline = AbortSignal.timeout(this.limits.requestS * 1000);
    const signal = init.signal ? AbortSignal.any([init.signal, deadline]) : deadline;
    const headers = { Accept: "application/json", ...init.headers };
    try {
      const response = await this.fetch(path, { ...init, headers, signal });
      if (!response.ok && response.status !== 304) throw await refusal(response);
      const text = await response.text();
      this.stats.received(text.length);
      return { status: response.status, headers: response.headers, body: text === "" ? null : JSON.parse(text) };
    } catch (error) {
      init.signal?.throwIfAborted();
      throw error instanceof Refused ? error : new Refused(0);
    }
  }

  /**
   * Whether something answers where the server is: what a browser does not tell of a WebSocket that did not open.
   * @returns {Promise<boolean>}
   */
  async reachable() {
    try {
      const signal = AbortSignal.timeout(this.limits.connectS * 1000);
      const { status } = await fetch(`${this.origin}/health/live`, { mode: "no-cors", cache: "no-store", signal });
      return ![502, 503, 504].includes(status); // those are a proxy's way to say that nobody is there
    } catch {
      return false;
    }
  }
}

/**
 * The query of an events address.
 * @param {{project: string, filter: Filter}} wanted
 * @param {Record<string, string | null>} [more]
 */
export function eventsPath({ project, filter }, more = {}) {
  const query = new URLSearchParams();
  for (const name of ["task", "session", "thread"]) for (const id of filter[name] ?? []) query.append(name, id);
  if (filter.kinds?.length) query.set("kinds", filter.kinds.join(","));
  for (const [name, value] of Object.entries(more)) if (value !== null) query.set(name, value);
  return `/v1/projects/${encodeURIComponent(project)}/events${query.size ? `?${query}` : ""}`;
}

/** @typedef {{task?: string[], session?: string[], thread?: string[], kinds?: string[]}} Filter */

/**
 * A filter in one form for all that mean the same.
 * @param {Record<string, string | string[] | undefined>} [filter]
 * @returns {Filter}
 */
export function canonical(filter = {}) {
  const clean = {};
  for (const name of ["kinds", "session", "task", "thread"]) {
    const given = filter[name];
    const values = typeof given === "string" ? given.split(",") : (given ?? []);
    if (values.length > 0) clean[name] = [...new Set(values.map((value) => value.trim().toLowerCase()))].sort();
  }
  return clean;
}
