// One of a browser's tabs leads: it has the connection, and tells the others.
// Web Locks say who leads, and who is gone; a BroadcastChannel carries what is told.

/** Whether this page may share: outside of secure contexts there are no locks. */
export const SHARES = Boolean(globalThis.navigator?.locks && globalThis.BroadcastChannel);

export class Tabs {
  #name;
  #on;
  #limits;
  #channel;
  #leads = false;
  #release = null; // gives the lead away
  #leaving = new AbortController();
  #heardAt = Date.now();
  #timer = null;
  #watchedAt = 0;
  #known = new Set(); // tabs whose end we wait for

  /**
   * @param {string} name of those who share
   * @param {string} id of this tab
   * @param {{lead: () => void, follow: () => void, hear: (message: any) => void, gone: (tab: string) => void}} on
   *   `lead`, `follow`: what this tab is from now on, `follow` also when another one leads from now on
   * @param {import("./limits.js").Limits} limits
   */
  constructor(name, id, on, limits) {
    this.#name = name;
    this.id = id;
    this.#on = on;
    this.#limits = limits;
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    // Held as long as this tab lives.
    this.#hold(`${name} ${this.id}`);
    this.#begin();
  }

  get leads() {
    return this.#leads;
  }

  /** Say something to all other tabs; nobody hears themselves. */
  say(message) {
    if (!this.#leaving.signal.aborted) this.#channel.postMessage({ ...message, from: this.id });
  }

  /** Give the lead away, and hear no more. */
  leave() {
    if (this.#leaving.signal.aborted) return;
    this.say({ op: "gone" });
    this.#leaving.abort();
    this.#release?.();
    clearTimeout(this.#timer);
    this.#channel.close();
  }

  /** Look whether somebody still leads. */
  look() {
    if (this.#leads || this.#leaving.signal.aborted) return;
    const asked = Date.now();
    this.say({ op: "ping" });
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      if (this.#heardAt < asked) this.#lock({ steal: true });
      else this.#watch();
    }, this.#limits.leaderS * 1000);
  }

  async #begin() {
    await this.#lock({ ifAvailable: true });
    if (this.#leads || this.#leaving.signal.aborted) return;
    this.#on.follow();
    this.look();
    this.#lock({ signal: this.#leaving.signal });
  }

  // Resolves at once when the lock is not to be had, and else when it is lost or given away.
  async #lock(options) {
    const had = { ifAvailable: "ifAvailable" in options };
    return new Promise((resolve) => {
      navigator.locks
        .request(this.#name, options, (lock) => {
          if (lock === null || this.#leaving.signal.aborted || this.#leads) return resolve();
          this.#lead();
          if (had.ifAvailable) resolve();
          return new Promise((release) => {
            this.#release = release;
          });
        })
        .catch(() => this.#lost()) // another tab took it, or we left
        .finally(resolve);
    });
  }

  #lead() {
    this.#leads = true;
    clearTimeout(this.#timer);
    this.say({ op: "lead" });
    this.#on.lead();
  }

  #lost() {
    if (this.#leaving.signal.aborted || !this.#leads) return;
    this.#leads = false;
    this.#on.follow();
    this.look();
    this.#lock({ signal: this.#leaving.signal });
  }

  #hold(name) {
    navigator.locks.request(name, { signal: this.#leaving.signal }, () => new Promise((release) => {
      this.#leaving.signal.addEventListener("abort", release);
    })).catch(() => {}); // it left before it had the lock
  }

  #hear(message) {
    if (this.#leaving.signal.aborted) return;
    if (!this.#leads) this.#heardAt = Date.now();
    if (message.op === "ping") {
      if (this.#leads) this.say({ op: "pong" });
    } else if (message.op === "lead") {
      if (!this.#leads) this.#on.follow();
    } else if (message.op === "gone") {
      if (this.#leads) this.#on.gone(message.from);
    } else if (message.op !== "pong") {
      if (this.#leads) this.#await(message.from);
      this.#on.hear(message);
    }
    if (!this.#leads) this.#watch();
  }

  // The lock of a tab is had when the tab is no more.
  #await(tab) {
    if (this.#known.has(tab)) return;
    this.#known.add(tab);
    navigator.locks
      .request(`${this.#name} ${tab}`, { signal: this.#leaving.signal }, () => {
        this.#known.delete(tab);
        if (this.#leads) this.#on.gone(tab);
      })
      .catch(() => {}); // we left first
  }

  #watch() {
    if (this.#timer !== null && Date.now() - this.#watchedAt < 1000) return; // it was set a moment ago
    this.#watchedAt = Date.now();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.look(), 2 * this.#limits.heartbeatS * 1000);
  }
}
