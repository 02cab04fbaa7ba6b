// How long nothing was heard, and when that is too long.

import { HEARTBEAT_S, isStale } from "./pace.js";

export class Silence {
  heardAt = Date.now();
  #limits;
  #tooLong;
  #transport = null; // what is listened to, null: nothing is expected
  #pace = null;
  #timer = null;

  /**
   * @param {import("./limits.js").Limits} limits
   * @param {() => void} tooLong called once for each time that it is watched
   */
  constructor(limits, tooLong) {
    this.#limits = limits;
    this.#tooLong = tooLong;
  }

  /** Seconds since something was heard. */
  get seconds() {
    return (Date.now() - this.heardAt) / 1000;
  }

  /** Whether nothing is expected: of polls there are none any more when all has ended. */
  get unexpected() {
    return this.#transport === "poll" && this.#pace === null;
  }

  /**
   * Something may be expected from now on.
   * @param {"push" | "poll"} transport
   * @param {number | null} [pace] of the polls, in seconds
   */
  watch(transport, pace = null) {
    this.#transport = transport;
    this.#pace = pace;
    this.#look();
  }

  /** Nothing is expected. */
  stop() {
    this.#transport = null;
    clearTimeout(this.#timer);
  }

  heard() {
    this.heardAt = Date.now();
    this.#look();
  }

  // It is looked at when it may have become too long: a timer alone may come late.
  #look() {
    clearTimeout(this.#timer);
    const push = this.#transport === "push";
    const pace = push ? HEARTBEAT_S : this.#pace;
    if (this.#transport === null || pace === null) return;
    const scale = push ? this.#limits.heartbeatS / HEARTBEAT_S : this.#limits.pollFactor;
    const silent = this.seconds / scale;
    if (isStale({ pace, transport: this.#transport, silent })) {
      this.stop();
      this.#tooLong();
    } else {
      this.#timer = setTimeout(() => this.#look(), Math.max(2 * pace - silent, 0) * scale * 1000 + 20);
    }
  }
}
