// Requests that did not go well.

const UNAVAILABLE = "The server is currently unavailable. Please try again in a few minutes.";
const UNEXPECTED = "An unexpected error occurred. Please contact support.";

/** The text that is shown when nothing could be loaded. */
export const LOAD_FAILED = "Failed to load session data. Please try again.";

/** The server, or something before it, said no; or nobody answered. */
export class Refused extends Error {
  name = "Refused";

  /**
   * @param {number} status of the answer; 0: none came
   * @param {string} [code] of the problem, empty where it is not the server's
   * @param {string} [detail] what to tell a reader
   * @param {{retryAfterMs?: number, document?: any}} [more] `document`: the problem's fields
   */
  constructor(status, code = "", detail = "", { retryAfterMs = 0, document = {} } = {}) {
    super(detail || (status === 0 || status === 503 ? UNAVAILABLE : UNEXPECTED));
    this.status = status;
    this.code = code;
    this.retryAfterMs = retryAfterMs;
    this.document = document;
  }

  get requestId() {
    return this.document.request_id ?? "";
  }

  /** Whether a change may have happened all the same: the answer was lost, or something gave up waiting for it. */
  get unknown() {
    return this.status === 0 || this.code === "commit_unknown" || (this.status >= 500 && this.code === "");
  }

  /** Whether asking again may help. */
  get passing() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }

  /** What another tab may be told of it. */
  toJSON() {
    const { status, code, message, retryAfterMs, document } = this;
    return { status, code, message, retryAfterMs, document };
  }

  /** @returns {Refused | null} */
  static fromJSON(told) {
    return told && new Refused(told.status, told.code, told.message, told);
  }
}

/**
 * The problem that a response tells of (RFC 9457).
 * @param {Response} response
 */
export async function refusal(response) {
  let document = {};
  try {
    document = (await response.json()) ?? {};
  } catch {
    // Something between us and the server answered.
  }
  const wait = Number(response.headers.get("Retry-After"));
  const retryAfterMs = wait > 0 ? wait * 1000 : 0;
  return new Refused(response.status, document.code ?? "", document.detail ?? "", { retryAfterMs, document });
}
