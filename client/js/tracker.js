// Frames in, items out: joins snapshots, drops repeated events, knows where to resume. No I/O.

import { parsePosition, ProtocolError } from "./position.js";

/**
 * Frames are the WebSocket's: `{op: "subscribed" | "events" | "snapshot" | "heartbeat" | "resync", …}`.
 * @typedef {{op: string, [field: string]: any}} Frame
 *
 * @typedef {{opened: {state: string, reason: string | null}}
 *   | {snapshot: {resources: {kind: string, data: any}[], position: string, tooLarge: boolean, read: string[]}}
 *   | {event: any} | {resync: string} | {delta: any}} Item
 *
 * @typedef {"auto" | "always" | "never"} SnapshotWish
 */

const DELTA = "message.delta";

/**
 * One subscription's place in its channel, over all its connections.
 *
 * The place moves only over what was received whole. Between «a snapshot follows» and the snapshot's last page it
 * stays where it was: a connection that breaks there has to be told of the gap again.
 */
export class Tracker {
  /** @type {string | null} what a reconnect resumes from, null: from nothing */
  position = null;
  #place = null;
  #wish;
  #awaiting = false;
  #pages = [];

  /**
   * @param {string | null} [position]
   * @param {SnapshotWish} [snapshot]
   */
  constructor(position = null, snapshot = "auto") {
    this.#wish = snapshot;
    if (position !== null) this.#move(position);
  }

  /** What to ask the server for now: «always» is for the first time, for a reconnect can resume. */
  get wish() {
    return this.#wish === "always" && this.position !== null ? "auto" : this.#wish;
  }

  /** Whether a snapshot is on its way: until it is there, what is known may be of before a gap. */
  get awaiting() {
    return this.#awaiting;
  }

  /** A connection begins: what was half received of the last one is void. */
  connecting() {
    this.#awaiting = false;
    this.#pages = [];
  }

  /** Begin with nothing: the server has no use for the position. */
  forget() {
    this.connecting();
    this.position = this.#place = null;
  }

  /**
   * The items that a frame makes.
   * @param {Frame} frame
   * @returns {Item[]}
   * @throws {ProtocolError} the frame makes no sense here
   */
  take(frame) {
    switch (frame.op) {
      case "subscribed":
        return [this.#opened(frame)];
      case "resync":
        this.#await();
        return [{ resync: String(frame.reason ?? "") }];
      case "snapshot":
        return this.#page(frame);
      case "events":
        if (!Array.isArray(frame.events)) throw new ProtocolError("an events frame without events");
        return frame.events.flatMap((event) => this.#event(event));
      case "heartbeat":
        // While a snapshot is on its way, its position is not ours yet.
        if (typeof frame.position === "string" && !this.#awaiting) this.#advance(frame.position);
        return [];
      default:
        return []; // of a newer server
    }
  }

  #opened(frame) {
    const { state, reason = null, position = null } = frame;
    if (!["resumed", "snapshot", "gap"].includes(state)) throw new ProtocolError(`a stream that is ${state}`);
    if (state !== "resumed") this.#await();
    // Without a snapshot, and without a place of our own, the stream goes on from the head.
    if (position !== null && !this.#awaiting && (state !== "resumed" || this.position === null)) this.#move(position);
    return { opened: { state, reason } };
  }

  #await() {
    this.#awaiting = this.#wish !== "never";
    this.#pages = [];
  }

  #page(frame) {
    if (!Array.isArray(frame.resources)) throw new ProtocolError("a snapshot without resources");
    for (const resource of frame.resources) {
      if (typeof resource?.kind !== "string" || typeof resource.data !== "object" || resource.data === null) {
        throw new ProtocolError("a snapshot of something that is no resource");
      }
      this.#pages.push(resource);
    }
    if (frame.more) return [];
    this.#move(frame.position);
    this.#awaiting = false;
    const resources = this.#pages;
    this.#pages = [];
    const tooLarge = Boolean(frame.too_large);
    return [{ snapshot: { resources, position: frame.position, tooLarge, read: tooLarge ? [...frame.read] : [] } }];
  }

  #event(body) {
    if (typeof body?.type !== "string") throw new ProtocolError("an event without a type");
    if (body.position === undefined) return this.#ephemeral(body);
    if (this.#awaiting) throw new ProtocolError("an event where a snapshot was due");
    const place = parsePosition(body.position);
    if (typeof body.data !== "object" || body.data === null) throw new ProtocolError("an event without data");
    // Within an epoch offsets only rise, so what is not above the last one was seen. Another epoch says nothing
    // about ours; the server announces one before it uses it.
    if (this.#place?.epoch === place.epoch && place.offset <= this.#place.offset) return [];
    this.#place = place;
    this.position = body.position;
    return [{ event: body }];
  }

  // It moves nothing. One that nobody can place, before its snapshot or of a newer server, is passed over.
  #ephemeral(body) {
    if (this.#awaiting || body.type !== DELTA) return [];
    const { message_id, index, text } = body.data ?? {};
    if (typeof message_id !== "string" || typeof index !== "number" || typeof text !== "string") {
      throw new ProtocolError("a piece of an answer that is none");
    }
    return [{ delta: body }];
  }

  // A heartbeat of who is behind us (another tab) takes nothing back.
  #advance(position) {
    const place = parsePosition(position);
    if (this.#place?.epoch === place.epoch && place.offset < this.#place.offset) return;
    this.#place = place;
    this.position = position;
  }

  #move(position) {
    this.#place = parsePosition(position);
    this.position = position;
  }
}
