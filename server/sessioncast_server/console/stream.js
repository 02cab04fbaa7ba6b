// One subscription to a project's events over all its connections, by fetch: EventSource can send no token and gives
// up for ever on any status but 200.

import { headers, Refused, refusal } from "./api.js";
import { SseParser } from "./sse.js";
import { texts } from "./texts.js";

export const HEARTBEAT_MS = 15_000;
// Nothing heard for two heartbeats and some slack: the connection is dead, whatever TCP thinks.
const IDLE_MS = 2 * HEARTBEAT_MS + 5_000;
const BASE_MS = 500;
const CAP_MS = 30_000;
const ASKED_CAP_MS = 60_000;
const FIRST_LOAD_MS = [1_000, 2_000, 4_000];
const SETTLED_MS = 5_000; // a connection that lasted this long was a good one: the next wait is a first one again

// `on.state(state, detail)`:
//   connecting            a connection is being made
//   live                  everything up to now was told; detail {refreshed: reason} after a gap or a resync
//   reconnecting          detail {at: time of the next try, first: nothing was ever loaded, why}
//   stale                 nothing was heard for too long, a new connection is being made
//   failed                the first load failed four times; `retry()` tries again
//   refused               detail is the Refused; `retry()` tries again
// `on.snapshot(frame, renewed)`: the present state, pages joined; renewed: the log began a new life before it.
// `on.event(event)`: each event once, in order.
export class Stream {
  heardAt = Date.now();
  #url;
  #on;
  #position = ""; // moves only over what was received whole
  #place = null;
  #awaiting = false;
  #pages = [];
  #refreshed = null; // why a snapshot is on its way
  #renewed = false;
  #loaded = false;
  #stale = false;
  #tries = 0;
  #askedMs = 0;
  #abort = null;
  #idle = null;
  #timer = null;
  #stopped = false;

  constructor(url, on) {
    this.#url = url;
    this.#on = on;
  }

  start() {
    this.#connect();
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#idle);
    this.#abort?.abort();
  }

  // Try now instead of later; no-op while there is a connection.
  retry() {
    if (this.#stopped || this.#abort !== null) return;
    clearTimeout(this.#timer);
    if (!this.#loaded) this.#tries = 0;
    this.#connect();
  }

  async #connect() {
    this.#awaiting = false; // what was half received of the last connection is void
    this.#pages = [];
    this.#abort = new AbortController();
    const abort = this.#abort;
    this.#on.state(this.#stale ? "stale" : "connecting", {});
    const began = Date.now();
    let problem = null;
    try {
      this.#listen(abort);
      await this.#follow(abort);
    } catch (error) {
      problem = error;
    }
    clearTimeout(this.#idle);
    abort.abort();
    if (this.#stopped) return;
    this.#abort = null;
    if (problem instanceof Refused && problem.code === "bad_cursor" && this.#position !== "") {
      this.#position = "";
    } else if (problem instanceof Refused && !problem.passing) {
      this.#on.state("refused", problem);
      return;
    }
    if (Date.now() - began > SETTLED_MS) this.#tries = 0;
    this.#wait(problem);
  }

  async #follow(abort) {
    const more = { Accept: "text/event-stream" };
    if (this.#position) more["Last-Event-ID"] = this.#position;
    const response = await fetch(this.#url, { headers: headers(more), cache: "no-store", signal: abort.signal });
    if (response.status !== 200) throw await refusal(response);
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
      throw new Refused(0, "", texts.unexpected, 0);
    }
    const parser = new SseParser();
    const decoder = new TextDecoder();
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.#listen(abort);
      for (const frame of parser.feed(decoder.decode(value, { stream: true }))) {
        this.#take(frame.type, JSON.parse(frame.data));
        this.#move(frame.lastEventId);
        if (this.#stopped) return;
      }
      this.#move(parser.lastEventId);
      if (parser.retryMs !== null) this.#askedMs = parser.retryMs;
    }
  }

  // Something was heard, or is being waited for.
  #listen(abort) {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      this.#stale = true;
      this.#tries = 0;
      this.#on.state("stale", {});
      abort.abort();
    }, IDLE_MS);
  }

  // While a snapshot is on its way its position is not ours yet.
  #move(id) {
    if (id && !this.#awaiting) {
      this.#position = id;
      this.#place = placeOf(id);
    }
  }

  #take(type, body) {
    this.heardAt = Date.now();
    if (type === "message") this.#event(body);
    else if (type === "ready") this.#ready(body);
    else if (type === "snapshot") this.#page(body);
    else if (type === "resync") this.#await(body.reason);
    else if (type === "goodbye") this.#askedMs = Number(body.retry_ms) || this.#askedMs;
  }

  #ready(body) {
    this.#stale = false;
    if (body.state === "resumed") this.#live({});
    else this.#await(body.state === "gap" ? (body.reason ?? "unknown") : null);
  }

  #await(reason) {
    this.#awaiting = true;
    this.#pages = [];
    this.#refreshed = reason;
    // In another life of the log, what was read of the one before may never have happened.
    this.#renewed ||= reason === "epoch" || reason === "future";
  }

  #page(body) {
    this.#pages.push(...body.resources);
    if (body.more) return;
    this.#awaiting = false;
    this.#place = placeOf(body.position);
    this.#on.snapshot({ ...body, resources: this.#pages }, this.#renewed);
    this.#pages = [];
    this.#renewed = false;
    this.#live(this.#refreshed === null ? {} : { refreshed: this.#refreshed });
    this.#refreshed = null;
  }

  // Within an epoch offsets only rise: what is not above the last one was seen.
  #event(body) {
    if (body.position === undefined) return; // ephemeral: in no log, so no part of the state
    if (this.#awaiting) throw new Error("an event where a snapshot was due");
    const place = placeOf(body.position);
    if (this.#place?.epoch === place.epoch && place.offset <= this.#place.offset) return;
    this.#place = place;
    this.#on.event(body);
  }

  #live(detail) {
    this.#loaded = true;
    this.#askedMs = 0;
    this.#on.state("live", detail);
  }

  #wait(problem) {
    const first = !this.#loaded;
    if (first && problem !== null && this.#tries >= FIRST_LOAD_MS.length) {
      this.#on.state("failed", problem);
      return;
    }
    // What the server asked for is a floor; full jitter comes on top, or all its clients would return together.
    const asked = Math.min(Math.max(this.#askedMs, problem?.retryAfterMs ?? 0), ASKED_CAP_MS);
    const jitter = Math.random() * Math.min(CAP_MS, BASE_MS * 2 ** Math.min(this.#tries, 16));
    const delay = asked + (first && problem !== null ? FIRST_LOAD_MS[this.#tries] : jitter);
    this.#tries += 1;
    this.#timer = setTimeout(() => this.#connect(), delay);
    this.#on.state("reconnecting", { at: Date.now() + delay, first, why: problem?.message ?? "" });
  }
}

function placeOf(position) {
  const [epoch, offset] = position.split(":");
  return { epoch, offset: Number(offset) };
}
