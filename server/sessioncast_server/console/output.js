// One session's output: each chunk once and in order of `seq`, over gaps, resyncs and restarts of the server.

import { read } from "./api.js";

const PAGE = 200;
const RETRY_MS = [1_000, 2_000, 4_000];
const SLOW_RETRY_MS = 15_000;

// More than is ever shown at once is not fetched either.
export const MAX_CHUNKS = 5_000;

// `seq` counts without gaps, so what was shown is known by one number. Events carry chunks; what is missing before
// one is read over HTTP. An event's chunks that do not join what is shown are not kept: they were committed before the
// event was sent, so the reading that fills the hole finds them too.
//
// `on.chunk(chunk)`, `on.skipped(count)` chunks are left out before the next one, `on.loaded()`,
// `on.failed(error, at)`: a reading failed; `at` is the time of the next try, null if there will be none by itself.
export class Output {
  shown = 0;
  #session;
  #on;
  #known = 0; // the highest `seq` that is known to exist
  #reading = false;
  #failures = 0;
  #timer = null;
  #closed = false;

  constructor(session, on) {
    this.#session = session;
    this.#on = on;
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  // The session has output up to `seq`.
  know(seq) {
    this.#known = Math.max(this.#known, seq);
    if (this.#timer === null) this.#fill();
  }

  // `data` of an output event. It may overlap with what is shown, leave a hole, or name a range without its chunks.
  take(data) {
    for (const chunk of data.chunks ?? []) this.#show(chunk);
    this.know(data.last);
  }

  // The server is there again, or the reader asks: do not wait for the next try.
  retry() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#failures = 0;
    this.#fill();
  }

  #show(chunk) {
    if (chunk.seq !== this.shown + 1) return;
    this.shown = chunk.seq;
    this.#on.chunk(chunk);
  }

  async #fill() {
    if (this.#reading || this.#closed) return;
    this.#reading = true;
    try {
      while (this.shown < this.#known && !this.#closed) await this.#page();
      this.#failures = 0;
      if (!this.#closed) this.#on.loaded();
    } catch (error) {
      if (!this.#closed) this.#failed(error);
    } finally {
      this.#reading = false;
    }
  }

  async #page() {
    const skipped = this.#known - MAX_CHUNKS - this.shown;
    if (skipped > 0) {
      this.shown += skipped;
      this.#on.skipped(skipped);
    }
    const after = this.shown;
    const page = await read(`/v1/sessions/${this.#session}/output?after=${after}&limit=${PAGE}`);
    if (this.#closed) return;
    for (const chunk of page.data) this.#show(chunk);
    if (this.shown === after) throw new Error("output that was announced is not there");
  }

  #failed(error) {
    const gone = error.passing === false;
    const delay = RETRY_MS[this.#failures] ?? SLOW_RETRY_MS;
    this.#failures += 1;
    if (!gone) {
      this.#timer = setTimeout(() => {
        this.#timer = null;
        this.#fill();
      }, delay);
    }
    this.#on.failed(error, gone || this.#failures > RETRY_MS.length ? null : Date.now() + delay);
  }
}
