// Answers of the poll as frames of a stream. No I/O.

import { ProtocolError } from "./position.js";

/** @typedef {import("./tracker.js").Frame} Frame */

/** The answers of one poller, in order. */
export class Polls {
  #opened = false;

  /**
   * The frames that an answer stands for.
   * @param {number} status 200 or 304
   * @param {any} body of a 200
   * @param {string | null} [position] of a 304, where it has one: who is silent for days is not told of a gap then
   * @returns {Frame[]}
   * @throws {ProtocolError} this is no answer of a poll
   */
  frames(status, body, position = null) {
    if (status === 304) return position === null || !this.#opened ? [] : [{ op: "heartbeat", position }];
    const { state, reason, from, to, resources, events, too_large, read } = body ?? {};
    const frames = [];
    if (state !== "resumed") {
      frames.push(defined({ op: "subscribed", state, reason, from, to, position: body?.position }));
      if (resources) frames.push(defined({ op: "snapshot", resources, position: body.position, too_large, read }));
    } else {
      if (!Array.isArray(events)) throw new ProtocolError("an answer of the poll without events");
      if (!this.#opened) frames.push({ op: "subscribed", state, position: body.position });
      if (events.length > 0) frames.push({ op: "events", events });
      frames.push({ op: "heartbeat", position: body.position });
    }
    this.#opened = true;
    return frames;
  }
}

function defined(frame) {
  return Object.fromEntries(Object.entries(frame).filter(([, value]) => value !== undefined));
}
