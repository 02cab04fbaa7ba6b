// Many subscriptions on one WebSocket.

import { Refused } from "./refused.js";

const STATUS = {
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  too_large: 413,
  invalid: 422,
  too_many: 429,
  unexpected: 500,
  unavailable: 503,
};
const FINAL = { 4400: [400, "bad_request"], 4401: [401, "unauthenticated"], 4403: [403, "forbidden"] };

/** The WebSockets of a client: one, and another for each hundred subscriptions. */
export class Sockets {
  #requests;
  #tell;
  #open = new Set();

  /**
   * @param {import("./requests.js").Requests} requests
   * @param {{worked: () => void, failed: (why: string) => void}} tell the ladder, once for each connection
   */
  constructor(requests, tell) {
    this.#requests = requests;
    this.#tell = tell;
  }

  /**
   * @param {import("./eventstream.js").Wanted} wanted
   * @param {import("./eventstream.js").Sink} sink
   */
  open(wanted, sink) {
    const key = JSON.stringify([wanted.project, wanted.filter]);
    let socket = [...this.#open].find((one) => one.takes(key));
    if (socket === undefined) {
      socket = new Socket(this.#requests, this.#tell, () => this.#open.delete(socket));
      this.#open.add(socket);
    }
    return socket.add(key, wanted, sink);
  }
}

/** One WebSocket. It is closed when its last subscription goes. */
class Socket {
  #requests;
  #tell;
  #over;
  #socket = null;
  #subscriptions = new Map(); // by ref
  #keys = new Map(); // ref by the server's key
  #nextRef = 1;
  #named = false; // the server knows who we are
  #renewed = false; // a refused token was replaced
  #opened = false;
  #spoken = false; // the server has said something
  #goodbye = null;
  #closed = false;
  #timer = null; // of connecting, of the first frame, of a ping
  #renewal = null;

  constructor(requests, tell, over) {
    this.#requests = requests;
    this.#tell = tell;
    this.#over = over;
    this.#connect();
  }

  /** Whether it has room for such a subscription; the server takes one of each filter. */
  takes(key) {
    const theirs = [...this.#subscriptions.values()];
    const room = theirs.length < this.#requests.limits.subscriptions;
    return !this.#closed && room && theirs.every(({ id }) => id !== key);
  }

  add(id, wanted, sink) {
    const ref = this.#nextRef++;
    this.#subscriptions.set(ref, { id, wanted, sink, key: null });
    if (this.#named) this.#subscribe(ref);
    return { close: () => this.#remove(ref), probe: () => this.#ping() };
  }

  async #connect() {
    const { limits, origin, identity } = this.#requests;
    this.#wait(limits.connectS, () => this.#failed());
    let token;
    try {
      token = await identity.token();
    } catch {
      this.#end({ why: "unreachable", counted: true }); // whoever gives tokens is away
      return;
    }
    if (this.#closed) return;
    const socket = new WebSocket(`${origin.replace(/^http/, "ws")}/v1/ws`);
    this.#socket = socket;
    socket.onopen = () => {
      this.#opened = true;
      this.#wait(limits.firstFrameS, () => this.#broke("silent"));
      if (token === null) this.#start();
      else this.#say({ op: "auth", token, ref: "auth" });
      this.#say({ op: "ping" });
    };
    socket.onmessage = ({ data }) => this.#heard(data);
    socket.onclose = ({ code, reason }) => this.#closedBy(code, reason);
  }

  #start() {
    this.#named = true;
    for (const ref of this.#subscriptions.keys()) this.#subscribe(ref);
    this.#renewLater();
  }

  #subscribe(ref) {
    const { project, filter, position, snapshot } = this.#subscriptions.get(ref).wanted;
    this.#say({ op: "subscribe", project, filter, snapshot, ref, ...(position === null ? {} : { position }) });
  }

  #remove(ref) {
    const subscription = this.#subscriptions.get(ref);
    if (subscription === undefined) return;
    this.#subscriptions.delete(ref);
    if (this.#subscriptions.size === 0) {
      this.#close();
    } else if (subscription.key !== null) {
      this.#keys.delete(subscription.key);
      this.#say({ op: "unsubscribe", key: subscription.key });
    } // else it is told to end when it answers
  }

  #say(frame) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame));
  }

  #heard(data) {
    if (this.#closed) return;
    this.#requests.stats.received(data.length);
    clearTimeout(this.#timer);
    this.#timer = null;
    if (!this.#spoken) {
      this.#spoken = true;
      this.#tell.worked();
    }
    const frame = JSON.parse(data);
    const ref = frame.key === undefined ? frame.ref : (this.#keys.get(frame.key) ?? frame.ref);
    const subscription = this.#subscriptions.get(ref);
    if (frame.op === "authenticated") this.#authenticated();
    else if (frame.op === "goodbye") this.#goodbye = frame;
    else if (frame.op === "error") this.#refused(frame, subscription);
    else if (frame.op === "subscribed" && subscription === undefined) this.#say({ op: "unsubscribe", key: frame.key });
    else if (subscription !== undefined) this.#take(frame, ref, subscription);
  }

  #take(frame, ref, subscription) {
    subscription.sink.heard();
    if (frame.op === "subscribed") {
      subscription.key = frame.key;
      this.#keys.set(frame.key, ref);
    }
    if (frame.op !== "unsubscribed") {
      subscription.sink.frame(frame);
      return;
    }
    const { reason = "" } = frame;
    const problem = new Refused(403, "forbidden", "The token does not cover this any more.");
    const retryMs = Number(frame.retry_ms) || 0;
    this.#endOne(ref, reason === "push_disabled" ? { why: reason, retryMs, told: true } : { why: "problem", problem });
  }

  #authenticated() {
    if (this.#named) this.#renewLater();
    else this.#start();
  }

  async #refused(frame, subscription) {
    const status = STATUS[frame.code] ?? 400;
    const problem = new Refused(status, frame.code, frame.detail, { document: frame });
    if (frame.ref === "auth") {
      if (status === 401 && !this.#renewed && this.#requests.identity.renewable) {
        this.#renewed = true;
        await this.#renew();
      } else this.#end({ why: "problem", problem });
    } else if (subscription !== undefined) {
      const retryMs = Number(frame.retry_ms) || 0;
      const why = frame.code === "push_disabled" ? frame.code : "problem";
      this.#endOne(frame.ref, { why, problem, retryMs });
    }
  }

  #endOne(ref, failure) {
    const { sink, key } = this.#subscriptions.get(ref);
    this.#subscriptions.delete(ref);
    this.#keys.delete(key);
    sink.end({ counted: failure.why !== "push_disabled", ...failure });
    if (this.#subscriptions.size === 0) this.#close();
  }

  async #renew() {
    try {
      const token = await this.#requests.identity.token({ fresh: true });
      this.#say({ op: "auth", token, ref: "auth" });
    } catch {
      if (this.#named) this.#renewLater();
      else this.#end({ why: "unreachable", counted: true });
    }
  }

  #renewLater() {
    clearTimeout(this.#renewal);
    this.#renewed = false;
    const seconds = this.#requests.identity.renewalIn();
    // A longer wait than a timer can have is cut: it is looked at again then.
    if (seconds === null) return;
    this.#renewal = setTimeout(() => this.#renew(), Math.min(Math.max(seconds, 1), 86_400) * 1000);
  }

  // Look whether anybody is there. Whatever is said answers it.
  #ping() {
    if (this.#timer !== null || !this.#named) return;
    this.#say({ op: "ping" });
    this.#wait(this.#requests.limits.pingS, () => this.#broke("cut"));
  }

  #wait(seconds, then) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, seconds * 1000);
  }

  #closedBy(code, reason) {
    if (this.#closed) return;
    if (!this.#opened) this.#failed();
    else if (this.#goodbye !== null) {
      const { retry_ms: retryMs = 0, reason: why } = this.#goodbye;
      this.#end({ why: "goodbye", retryMs, reason: why });
    } else if (code in FINAL) this.#end({ why: "problem", problem: new Refused(...FINAL[code], reason) });
    else if (code === 4429 || code === 4408 || code === 1001) this.#end({ why: "goodbye", retryMs: 0, reason });
    else this.#broke("cut");
  }

  // A browser does not tell why a WebSocket did not open. If the server answers otherwise, it is the WebSocket.
  async #failed() {
    clearTimeout(this.#timer);
    if (this.#socket !== null) this.#socket.onopen = this.#socket.onclose = null;
    const reachable = await this.#requests.reachable();
    if (!this.#closed) this.#broke(reachable ? "refused" : "unreachable");
  }

  #broke(why) {
    this.#tell.failed(why);
    this.#end({ why });
  }

  #end(failure) {
    const theirs = [...this.#subscriptions.values()];
    this.#subscriptions.clear();
    this.#close();
    for (const { sink } of theirs) sink.end({ counted: true, ...failure });
  }

  #close() {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#renewal);
    if (this.#socket !== null) {
      this.#socket.onclose = this.#socket.onmessage = null;
      this.#socket.close();
    }
    this.#over();
  }
}
