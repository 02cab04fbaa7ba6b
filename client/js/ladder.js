// Which way to the server is used: the highest that works. Seconds. No I/O.

/** @typedef {"websocket" | "sse" | "poll"} TransportName */

/** From the highest to the lowest. The lowest is never set aside. */
export const TRANSPORTS = /** @type {const} */ (["websocket", "sse", "poll"]);

const ASIDE_S = 60;
const ASIDE_CAP_S = 15 * 60;
const CUTS = 3;
const SHORT_S = 10; // a connection that is cut within so long of its opening is suspicious
const PROVEN_S = 30; // one that works for so long has proved itself

/** What is known of one transport. */
class Rung {
  until = -Infinity; // set aside up to then
  times = 0; // how often in a row
  cuts = 0; // quick ones, in a row
  opened = null; // when the newest connection began to work
  good = null; // when the first did since one failed

  aside(now) {
    this.until = now + Math.min(ASIDE_CAP_S, ASIDE_S * 2 ** Math.min(this.times, 10));
    this.times += 1;
    this.cuts = 0;
  }

  // What has worked for long enough starts with a clean sheet.
  settle(now) {
    if (this.good === null || now - this.good < PROVEN_S) return;
    this.until = -Infinity;
    this.times = this.cuts = 0;
  }
}

export class Ladder {
  #rungs = new Map(TRANSPORTS.slice(0, -1).map((name) => [name, new Rung()]));
  #off = new Set(); // projects whose streams are switched off

  /**
   * The highest that is not set aside.
   * @param {number} now
   * @param {string} [project] push is switched for each by itself
   * @returns {TransportName}
   */
  use(now, project = "") {
    this.#settle(now);
    if (!this.#off.has(project)) for (const [name, { until }] of this.#rungs) if (until <= now) return name;
    return "poll";
  }

  /**
   * When a higher transport than this may be tried; null: there is none, or only the server can tell.
   * @param {TransportName} name
   * @param {string} [project]
   * @returns {number | null}
   */
  nextAbove(name, project = "") {
    const above = TRANSPORTS.slice(0, TRANSPORTS.indexOf(name)).map((higher) => this.#rungs.get(higher).until);
    return this.#off.has(project) || above.length === 0 ? null : Math.min(...above);
  }

  /**
   * It did not open, or broke. What is set aside already is not set aside again: several tell of one fault.
   * @param {TransportName} name
   * @param {"unreachable" | "refused" | "silent" | "cut" | "push_disabled"} why `unreachable`: the server is away,
   *   whatever the transport; `refused`: what answered does not speak it; `silent`: it opened and said nothing;
   *   `cut`: it had worked; `push_disabled`: the server's switch
   * @param {number} now
   * @param {string} [project]
   */
  failed(name, why, now, project = "") {
    this.#settle(now);
    if (why === "push_disabled") {
      this.#off.add(project);
      return;
    }
    const rung = this.#rungs.get(name);
    if (rung === undefined || why === "unreachable" || rung.until > now) return;
    if (why === "cut") rung.cuts = rung.opened === null || now - rung.opened <= SHORT_S ? rung.cuts + 1 : 0;
    rung.opened = rung.good = null;
    if (why !== "cut" || rung.cuts >= CUTS) rung.aside(now);
  }

  /**
   * Its first frame came.
   * @param {TransportName} name
   * @param {number} now
   */
  worked(name, now) {
    this.#settle(now);
    const rung = this.#rungs.get(name);
    if (rung === undefined) return;
    rung.opened = now;
    rung.good ??= now;
  }

  /**
   * What an answer to a poll says of push.
   * @param {"on" | "off"} state
   * @param {string} [project]
   */
  push(state, project = "") {
    if (state === "on") this.#off.delete(project);
    else this.#off.add(project);
  }

  /** Try everything again now: the network may be another one. */
  forget() {
    for (const rung of this.#rungs.values()) rung.until = -Infinity;
  }

  #settle(now) {
    for (const rung of this.#rungs.values()) rung.settle(now);
  }
}
