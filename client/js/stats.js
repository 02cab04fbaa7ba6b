// What a client counts.

/** Counts of one page's clients of one server. */
export class Stats {
  transports = { websocket: 0, sse: 0, poll: 0 }; // streams that were opened
  reconnects = 0;
  gaps = 0;
  resyncs = 0;
  polls = 0;
  /** @type {Record<string, number>} how often each interval, in seconds, was waited */
  pollIntervals = {};
  cacheHits = 0;
  cacheMisses = 0;
  cacheStale = 0;
  bytesReceived = 0;
  largestPayload = 0;
  checks = 0;
  mismatches = 0;
  reports = 0;
  staleTimes = 0;
  #largeBytes;

  /** @param {number} [largeBytes] the first payload over this is warned of */
  constructor(largeBytes = Infinity) {
    this.#largeBytes = largeBytes;
  }

  /** @param {number} bytes of a payload */
  received(bytes) {
    if (bytes > this.#largeBytes && this.largestPayload <= this.#largeBytes) {
      console.warn(`sessioncast: a payload of ${bytes} bytes; a filter that names less would have smaller ones`);
    }
    this.bytesReceived += bytes;
    this.largestPayload = Math.max(this.largestPayload, bytes);
  }

  /** @param {number} seconds */
  interval(seconds) {
    this.pollIntervals[seconds] = (this.pollIntervals[seconds] ?? 0) + 1;
  }

  /** Figures as they are now. */
  copy() {
    return { ...this, transports: { ...this.transports }, pollIntervals: { ...this.pollIntervals } };
  }
}
