// What one subscription knows: its place, the present state, and the last events for those who come after.

import { MirrorState } from "./mirror.js";
import { parsePosition, reaches } from "./position.js";
import { Tracker } from "./tracker.js";

/** A tracker and a mirror that go together. No I/O. */
export class Replica {
  mirror;
  #tracker;
  #ring = []; // the last events
  #from = null; // the position before the first of them
  #limits;
  #size = 0; // of the ring, in characters, about

  /**
   * @param {{ringEvents: number, ringChars: number}} limits how many events are kept, and how much of them
   * @param {string[] | null} [kinds] of the filter
   * @param {import("./tracker.js").SnapshotWish} [snapshot]
   */
  constructor(limits, kinds = null, snapshot = "auto") {
    this.#limits = limits;
    this.mirror = new MirrorState(kinds);
    this.#tracker = new Tracker(null, snapshot);
  }

  get position() {
    return this.#tracker.position;
  }

  get wish() {
    return this.#tracker.wish;
  }

  /** Whether all up to the position is known: no snapshot is on its way. */
  get whole() {
    return this.position !== null && !this.#tracker.awaiting;
  }

  connecting() {
    this.#tracker.connecting();
  }

  forget() {
    this.#tracker.forget();
  }

  /**
   * @param {import("./tracker.js").Frame} frame
   * @returns {{items: import("./tracker.js").Item[], changes: import("./mirror.js").Change[]}}
   */
  take(frame) {
    const before = this.position;
    const items = this.#tracker.take(frame);
    const changes = [];
    for (const item of items) {
      changes.push(...this.mirror.take(item));
      if (item.snapshot) {
        this.#ring = [];
        this.#size = 0;
        this.#from = item.snapshot.position;
      } else if (item.event) {
        this.#from ??= before;
        this.#ring.push(item.event);
        this.#size += sizeOf(item.event);
      }
    }
    this.#from ??= this.position;
    while (this.#ring.length > this.#limits.ringEvents || this.#size > this.#limits.ringChars) {
      const oldest = this.#ring.shift();
      this.#from = oldest.position;
      this.#size -= sizeOf(oldest);
    }
    return { items, changes };
  }

  /** The events after a position, as far as they are kept. */
  eventsAfter(position) {
    const { epoch, offset } = parsePosition(position);
    return this.#ring.filter((event) => {
      const place = parsePosition(event.position);
      return place.epoch === epoch && place.offset > offset;
    });
  }

  /**
   * The frames that bring somebody here.
   * @param {string | null} position where they are
   * @param {import("./tracker.js").SnapshotWish} wish
   * @returns {import("./tracker.js").Frame[]}
   */
  framesFrom(position, wish) {
    const here = this.position;
    if (position !== null && wish !== "always" && (reaches(position, this.#from) || reaches(position, here))) {
      return [
        { op: "subscribed", state: "resumed", from: position, position: here },
        { op: "events", events: this.eventsAfter(position) },
      ];
    }
    let opened = { op: "subscribed", state: "snapshot", position: here };
    if (position !== null && wish !== "always") {
      const reason = parsePosition(position).epoch === parsePosition(here).epoch ? "expired" : "epoch";
      opened = { ...opened, state: "gap", reason, from: position, to: here };
    }
    if (wish === "never") return [opened];
    const { read } = this.mirror;
    const more = read === null ? {} : { too_large: true, read };
    const resources = read === null ? this.mirror.resources() : [];
    return [opened, { op: "snapshot", resources, position: here, ...more }];
  }

  /** @returns {Replica} one of its own that knows the same, and wants snapshots when it needs them */
  copy() {
    const copy = new Replica(this.#limits);
    copy.mirror = this.mirror.copy();
    copy.#tracker = new Tracker(this.position);
    copy.#ring = [...this.#ring];
    copy.#from = this.#from;
    copy.#size = this.#size;
    return copy;
  }
}

// Output is what can be long; of the rest a guess will do.
function sizeOf({ data }) {
  return (data.chunks ?? []).reduce((sum, { text }) => sum + (text?.length ?? 0), 1000);
}
