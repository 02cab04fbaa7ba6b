// What goes wrong here is told to the server, which writes it into its log.

/** Reports wait, a few of them, until the server can be told. */
export class Reports {
  #requests;
  #waiting = [];
  #sending = false;

  /** @param {import("./requests.js").Requests} requests */
  constructor(requests) {
    this.#requests = requests;
  }

  /**
   * @param {"load_failed" | "stale" | "mismatch" | "other"} kind
   * @param {string} message
   * @param {{session?: string, heardAt?: number | null, transport?: string | null}} [about]
   */
  add(kind, message, { session, heardAt = null, transport = null } = {}) {
    const report = { kind, message: message.slice(0, 2000), at: new Date().toISOString() };
    if (session) report.session_id = session;
    if (heardAt !== null) report.heard_at = new Date(heardAt).toISOString();
    if (transport !== null) report.transport = transport;
    this.#waiting.push(report);
    if (this.#waiting.length > this.#requests.limits.reports) this.#waiting.shift();
    this.#requests.stats.reports += 1;
    this.flush();
  }

  /** Send what waits; what the server does not take is dropped, what does not reach it waits on. */
  async flush() {
    if (this.#sending) return;
    this.#sending = true;
    try {
      while (this.#waiting.length > 0) {
        const body = JSON.stringify(this.#waiting[0]);
        const headers = { "Content-Type": "application/json" };
        try {
          await this.#requests.json("/v1/client-reports", { method: "POST", body, headers });
        } catch (problem) {
          if (problem.passing) return;
        }
        this.#waiting.shift();
      }
    } finally {
      this.#sending = false;
    }
  }
}
