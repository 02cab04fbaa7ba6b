// Server-sent events: text in, events out, no I/O.
// WHATWG HTML, section «Server-sent events», «Interpreting an event stream».

const MAX_CHARS = 64 * 2 ** 20;

export class SseParser {
  // What a reconnect sends as `Last-Event-ID`. It moves at the blank line that ends an event, also of one without
  // data, which is not dispatched.
  lastEventId = "";
  retryMs = null;
  #tail = ""; // a line whose end has not come yet
  #afterCr = false;
  #type = "";
  #id = "";
  #data = [];
  #size = 0;

  // The events {type, data, lastEventId} that this text completes. The text is decoded as UTF-8 without its BOM,
  // as `TextDecoder` does it. An event of over 64 million characters throws a RangeError.
  feed(text) {
    if (this.#afterCr && text.startsWith("\n")) text = text.slice(1);
    else if (text === "") return [];
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
    if (this.#size + this.#tail.length > MAX_CHARS) throw new RangeError("an event is too long");
    return events;
  }

  #field(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (name === "data") {
      this.#data.push(value);
      this.#size += value.length;
    } else if (name === "event") this.#type = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^[0-9]{1,15}$/.test(value)) this.retryMs = Number(value);
  }

  #dispatch(events) {
    this.lastEventId = this.#id;
    if (this.#data.length > 0) {
      events.push({ type: this.#type || "message", data: this.#data.join("\n"), lastEventId: this.#id });
    }
    this.#type = "";
    this.#data = [];
    this.#size = 0;
  }
}
