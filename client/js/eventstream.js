// A subscription over server-sent events, by fetch: EventSource can send no token and gives up for ever on any status
// but 200.

import { eventsPath } from "./requests.js";
import { refusal, Refused } from "./refused.js";
import { SseParser } from "./sse.js";

/**
 * What a stream tells of: frames, signs of life, and its end.
 * @typedef {object} Sink
 * @property {(frame: import("./tracker.js").Frame) => void} frame
 * @property {() => void} heard
 * @property {(failure: Failure) => void} end called once, and not after `close`
 *
 * @typedef {object} Failure
 * @property {"unreachable" | "refused" | "silent" | "cut" | "push_disabled" | "goodbye" | "problem"} why
 * @property {Refused} [problem]
 * @property {number} [retryMs] what the server asked for
 * @property {boolean} [counted] the ladder knows of it
 *
 * @typedef {object} Wanted
 * @property {string} project
 * @property {import("./requests.js").Filter} filter
 * @property {string | null} position
 * @property {import("./tracker.js").SnapshotWish} snapshot
 */

/**
 * @param {import("./requests.js").Requests} requests
 * @param {Wanted} wanted
 * @param {Sink} sink
 */
export function openEventStream(requests, wanted, sink) {
  const abort = new AbortController();
  const { limits, stats } = requests;
  let timer = setTimeout(unanswered, limits.connectS * 1000);
  let over = false;

  function end(failure) {
    if (over) return;
    close();
    sink.end(failure);
  }

  // Somebody between us and the server may keep the whole answer for himself.
  async function unanswered() {
    abort.abort();
    end({ why: (await requests.reachable()) ? "silent" : "unreachable" });
  }

  function close() {
    over = true;
    clearTimeout(timer);
    abort.abort();
  }

  async function follow() {
    const headers = { Accept: "text/event-stream" };
    if (wanted.position !== null) headers["Last-Event-ID"] = wanted.position;
    const path = eventsPath(wanted, { snapshot: wanted.snapshot });
    const response = await requests.fetch(path, { headers, signal: abort.signal });
    if (response.status !== 200) return failureOf(await refusal(response));
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
      return { why: "refused", problem: new Refused(0, "") };
    }
    clearTimeout(timer);
    timer = setTimeout(() => end({ why: "silent" }), limits.firstFrameS * 1000);
    const parser = new SseParser();
    const reader = response.body.getReader();
    let goodbye = null;
    for (;;) {
      const { done, value } = await reader.read();
      if (over) return { why: "cut" };
      if (done) break;
      stats.received(value.length);
      sink.heard();
      for (const frame of framesOf(parser, value)) {
        clearTimeout(timer);
        if (frame.op === "goodbye") goodbye = frame;
        else sink.frame(frame);
        if (over) return { why: "cut" };
      }
    }
    return ended(goodbye, parser.retryMs);
  }

  // A connection that breaks tells nothing but that; before any answer nobody was there.
  let answered = false;
  const tell = sink.heard;
  sink.heard = () => {
    answered = true;
    tell();
  };
  follow().then(end, () => abort.signal.aborted || end({ why: answered ? "cut" : "unreachable" }));
  return { close };
}

function ended(goodbye, retryMs) {
  if (goodbye === null) return { why: "cut", retryMs: retryMs ?? 0 };
  const why = goodbye.reason === "push_disabled" ? "push_disabled" : "goodbye";
  return { why, retryMs: Number(goodbye.retry_ms) || 0, reason: goodbye.reason };
}

/**
 * What a refusal means for the way it was asked: one of the server's own is about the subscription, not the way.
 * @param {Refused} problem
 * @returns {Failure}
 */
export function failureOf(problem) {
  const retryMs = problem.retryAfterMs;
  if (problem.code === "push_disabled") return { why: "push_disabled", problem };
  return { why: problem.code === "" && problem.status !== 401 ? "refused" : "problem", problem, retryMs };
}

// The frames of some bytes, in the WebSocket's words.
function* framesOf(parser, bytes) {
  let carried = parser.lastEventId;
  for (const { type, data, id } of parser.feed(bytes)) {
    const body = JSON.parse(data);
    if (type === "message") {
      yield { op: "events", events: [body] };
      if (body.position !== undefined) carried = id;
    } else {
      carried = id;
      if (type === "ready") yield { ...body, op: "subscribed" };
      else if (type === "heartbeat") yield { op: "heartbeat", position: id || undefined };
      else if (type === "snapshot") yield { position: id, ...body, op: "snapshot" };
      else yield { ...body, op: type };
    }
  }
  // An id that no event carries (the end of a replay) counts, too.
  if (parser.lastEventId !== "" && parser.lastEventId !== carried) {
    yield { op: "heartbeat", position: parser.lastEventId };
  }
}
