// How often a poll asks, and when silence is too long. Seconds. No I/O.

const ACTIVE = new Set(["pending", "running", "working", "waiting"]);
const TERMINAL = new Set(["completed", "failed", "cancelled"]);
const BASE_S = 2;
const CAP_S = 30;
const FACTOR = 1.5;

/** Seconds between two heartbeats of a push. */
export const HEARTBEAT_S = 15;

/** How often to poll: fast while a watched session is active, slower and slower while all is quiet. */
export class Pace {
  #onlySessions;
  #quiet = null; // the last pace of a quiet time

  /** @param {"sessions" | "wide"} filter `sessions`: it names sessions only, so nothing new can come into it */
  constructor(filter) {
    this.#onlySessions = filter === "sessions";
  }

  /**
   * After a poll: seconds until the next, null for none until something else is heard or asked.
   * @param {string[]} statuses of the watched sessions
   * @param {boolean} changed whether the poll told anything new
   * @returns {number | null}
   */
  next(statuses, changed) {
    const before = this.#quiet;
    this.#quiet = null;
    if (statuses.some((status) => ACTIVE.has(status))) return BASE_S;
    if (this.#onlySessions && statuses.length > 0 && statuses.every((status) => TERMINAL.has(status))) return null;
    this.#quiet = changed || before === null ? BASE_S : Math.min(CAP_S, before * FACTOR);
    return this.#quiet;
  }
}

/**
 * Whether nothing was heard for twice the pace; a push has one of its own, and without one nothing is expected.
 * @param {{pace: number | null, transport: "push" | "poll", silent: number}} now `silent`: seconds
 */
export function isStale({ pace, transport, silent }) {
  if (transport === "push") return silent > 2 * HEARTBEAT_S;
  return pace !== null && silent > 2 * pace;
}

/**
 * @param {number} seconds
 * @param {number} random from 0 up to 1
 * @returns {number} the same ± 10 %, so that clients do not ask all at once
 */
export function jittered(seconds, random = Math.random()) {
  return seconds * (0.9 + 0.2 * random);
}
