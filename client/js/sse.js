// Server-sent events: bytes in, events out, no I/O.
// WHATWG HTML, section «Server-sent events», «Interpreting an event stream».

const MAX_CHARS = 64 * 2 ** 20;

/**
 * @typedef {object} ServerSentEvent
 * @property {string} type the `event` field, `message` when there was none
 * @property {string} data the `data` fields, joined by newlines
 * @property {string} id the last `id` seen up to and including this event, empty when there was none
 */

/** Turns the bytes of an event stream, however they are cut, into events. */
export class SseParser {
  /** What a reconnect sends as `Last-Event-ID`. It moves at the blank line that ends an event, also of one without
   * data, which is not dispatched. */
  lastEventId = "";
  /** @type {number | null} the last valid `retry` */
  retryMs = null;
  #decoder = new TextDecoder(); // takes the BOM away, and joins characters that were cut
  #maxChars;
  #tail = ""; // a line whose end has not come yet
  #afterCr = false;
  #type = "";
  #id = "";
  #data = [];
  #size = 0;

  /** @param {{maxChars?: number}} [options] an event of more characters throws a RangeError */
  constructor({ maxChars = MAX_CHARS } = {}) {
    this.#maxChars = maxChars;
  }

  /**
   * The events that these bytes complete.
   * @param {Uint8Array} bytes
   * @returns {ServerSentEvent[]}
   */
  feed(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (text === "") return [];
    if (this.#afterCr && text.startsWith("\n")) text = text.slice(1);
    const events = [];
    const ends = /\r\n|\n|\r/g;
    let start = 0;
    for (let end = ends.exec(text); end !== null; end = ends.exec(text)) {
      const line = this.#tail + text.slice(start, end.index);
      this.#tail = "";
      start = ends.lastIndex;
      if (line === "") this.#dispatch(events);
      else this.#field(line);
    }
    this.#tail += text.slice(start);
    // A line ended at CR already: waiting to see whether LF follows would hold an event back.
    this.#afterCr = text.endsWith("\r");
    this.#bound(this.#tail.length);
    return events;
  }

  #field(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (name === "data") {
      this.#data.push(value);
      this.#size += value.length;
      this.#bound(0);
    } else if (name === "event") this.#type = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^[0-9]{1,15}$/.test(value)) this.retryMs = Number(value);
  }

  #bound(more) {
    if (this.#size + more > this.#maxChars) throw new RangeError("an event is too long");
  }

  #dispatch(events) {
    this.lastEventId = this.#id;
    if (this.#data.length > 0) {
      events.push({ type: this.#type || "message", data: this.#data.join("\n"), id: this.#id });
    }
    this.#type = "";
    this.#data = [];
    this.#size = 0;
  }
}
