// A subscription by asking again and again.

import { failureOf } from "./eventstream.js";
import { jittered } from "./pace.js";
import { Polls } from "./polls.js";
import { eventsPath } from "./requests.js";

/**
 * @typedef {import("./eventstream.js").Sink & {
 *   pace: (changed: boolean) => number | null,
 *   position: () => string | null,
 *   push: (state: "on" | "off") => void,
 * }} PollSink `pace`: seconds to the next poll, null for none until `wake`
 */

/**
 * @param {import("./requests.js").Requests} requests
 * @param {import("./eventstream.js").Wanted} wanted
 * @param {PollSink} sink
 */
export function openPoll(requests, wanted, sink) {
  const { limits, stats } = requests;
  const abort = new AbortController();
  const polls = new Polls();
  let { position, snapshot } = wanted;
  let etag = null;
  let timer = null;
  let asking = false;

  function close() {
    clearTimeout(timer);
    abort.abort();
  }

  // Ask now; of two at the same time the second would learn nothing.
  function wake() {
    if (asking || abort.signal.aborted) return;
    clearTimeout(timer);
    ask();
  }

  async function ask() {
    asking = true;
    try {
      const path = eventsPath(wanted, { position, snapshot: position === null ? snapshot : "auto" });
      const headers = etag === null ? {} : { "If-None-Match": etag };
      const answer = await requests.json(path, { headers, signal: abort.signal });
      asking = false;
      take(answer);
    } catch (problem) {
      asking = false;
      if (abort.signal.aborted) return;
      close();
      sink.end(problem.status === 0 ? { why: "unreachable", problem } : failureOf(problem));
    }
  }

  function take({ status, headers, body }) {
    stats.polls += 1;
    sink.heard();
    const moved = position === null ? null : headers.get("X-Position");
    for (const frame of polls.frames(status, body, moved)) {
      sink.frame(frame);
      if (abort.signal.aborted) return;
    }
    position = sink.position();
    // From there, the answer that there is nothing new has the position itself for its ETag.
    etag = position === null ? null : `"${position}"`;
    const push = headers.get("X-Push");
    if (push !== null) sink.push(push === "off" ? "off" : "on");
    if (abort.signal.aborted) return;
    if (body?.more) {
      ask();
      return;
    }
    const pace = sink.pace(status === 200 && (body.state !== "resumed" || body.events.length > 0));
    if (pace === null) return;
    stats.interval(pace);
    timer = setTimeout(ask, jittered(pace * limits.pollFactor) * 1000);
  }

  ask();
  return { close, wake };
}
