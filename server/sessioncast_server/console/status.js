// What the page says about its connection, and about loads that failed.

import { say, timeOf } from "./list.js";

const STALE_MS = 30_000;
const HEALTHY = ["live", "polling", "refused"];
const NOTE_MS = 20_000;

// A text with a countdown, «Refresh» and «Contact Support».
export class Notice {
  #root;
  #parts;
  #at = null; // time of the next try

  constructor(name, onRefresh) {
    this.#root = document.getElementById(name);
    const part = (id) => document.getElementById(`${name}-${id}`);
    this.#parts = { text: part("text"), detail: part("detail"), refresh: part("refresh"), support: part("support") };
    this.#parts.refresh.addEventListener("click", onRefresh);
  }

  support(url) {
    this.#parts.support.href = url;
    this.#parts.support.dataset.known = "true";
  }

  // `at`: time of the next try; null if there will be none by itself, and then the reader can do something.
  show(text, detail, at) {
    this.#at = at;
    say(this.#parts.text, text);
    say(this.#parts.detail, detail);
    this.#parts.refresh.hidden = at !== null;
    this.#parts.support.hidden = at !== null || !this.#parts.support.dataset.known;
    this.#root.hidden = false;
    this.tick();
  }

  hide() {
    this.#root.hidden = true;
  }

  tick() {
    if (!this.#root.hidden && this.#at !== null) say(this.#parts.detail, `Trying again in ${seconds(this.#at)} s.`);
  }
}

export class ConnectionState {
  #root = document.getElementById("connection");
  #state = document.getElementById("state");
  #detail = document.getElementById("state-detail");
  #refresh = document.getElementById("stale-refresh");
  #now = { state: "connecting", detail: {} };
  #refreshed = null; // {reason, at} of the last gap

  constructor() {
    this.heardAt = () => Date.now();
  }

  show(state, detail) {
    this.#now = { state, detail };
    this.tick();
  }

  // Something was missed, and is there now.
  refreshed(reason) {
    this.#refreshed = { reason, at: Date.now() };
    this.tick();
  }

  // Called about once a second: only the countdown moves by itself.
  tick() {
    const { state, detail } = this.#now;
    const silent = Date.now() - this.heardAt();
    const stale = state === "stale" || (!HEALTHY.includes(state) && silent > STALE_MS);
    const gap = this.#refreshed !== null && Date.now() - this.#refreshed.at < NOTE_MS;
    this.#root.dataset.state = stale ? "stale" : state;
    this.#root.dataset.gap = this.#refreshed?.reason ?? "";
    const heard = timeOf(this.heardAt());
    const words = {
      polling: ["polling", gap ? `refreshed at ${timeOf(this.#refreshed.at)}` : ""],
      live: [gap ? "gap: refreshed" : "live", gap ? `at ${timeOf(this.#refreshed.at)}, live` : ""],
      connecting: ["connecting", ""],
      stale: ["stale", `last heard ${heard}, connecting`],
      reconnecting: [stale ? "stale" : "reconnecting", `in ${seconds(detail.at)} s${stale ? `, last heard ${heard}` : ""}`],
      failed: ["not connected", ""],
      refused: ["not connected", ""],
    };
    const [word, rest] = stale && state === "connecting" ? words.stale : words[state];
    say(this.#state, word);
    say(this.#detail, rest);
    this.#refresh.hidden = !stale || detail.first !== false;
  }
}

function seconds(at) {
  return Math.max(0, Math.ceil((at - Date.now()) / 1000));
}
