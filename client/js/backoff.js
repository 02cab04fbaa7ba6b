// How long to wait before trying again. Seconds. No I/O.

const ASKED_CAP_S = 300;

/**
 * Exponential backoff with full jitter (M. Brooker, «Exponential Backoff And Jitter», AWS 2015): clients that lost
 * the same server spread over the whole interval instead of coming back together.
 */
export class Backoff {
  #base;
  #cap;
  #tries = 0;

  /** @param {{base?: number, cap?: number}} [options] */
  constructor({ base = 0.5, cap = 30 } = {}) {
    this.#base = base;
    this.#cap = cap;
  }

  /**
   * Seconds to wait now.
   * @param {number | null} [asked] what the server asked for: a floor, the jitter comes on top
   * @param {number} [jitter] from 0 up to 1
   */
  next(asked = null, jitter = Math.random()) {
    const ceiling = Math.min(this.#cap, this.#base * 2 ** Math.min(this.#tries, 32));
    this.#tries += 1;
    return Math.min(Math.max(asked ?? 0, 0), ASKED_CAP_S) + jitter * ceiling;
  }

  /** The server was heard: the next wait is a first one again. */
  reset() {
    this.#tries = 0;
  }
}
