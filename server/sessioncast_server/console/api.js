// Requests to the server. The token is the tab's, goes into a header and never into an address.

import { texts } from "./texts.js";

const TOKEN = "sessioncast.token";
const DEADLINE_MS = 15_000;

// A request that was refused. `status` 0: no answer came. `document`: the problem's fields.
export class Refused extends Error {
  constructor(status, code, detail, retryAfterMs, document = {}) {
    super(detail);
    this.status = status;
    this.code = code;
    this.retryAfterMs = retryAfterMs;
    this.document = document;
  }

  get requestId() {
    return this.document.request_id ?? "";
  }

  // Whether a change may have happened all the same: the answer was lost, or something between us and the server
  // gave up waiting for it.
  get unknown() {
    return this.status === 0 || this.code === "commit_unknown" || (this.status >= 500 && this.code === "");
  }

  // Whether asking again may help.
  get passing() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

export function token() {
  return sessionStorage.getItem(TOKEN) ?? "";
}

export function setToken(value) {
  if (value) sessionStorage.setItem(TOKEN, value);
  else sessionStorage.removeItem(TOKEN);
}

export function headers(more = {}) {
  const known = token();
  return known ? { Authorization: `Bearer ${known}`, ...more } : more;
}

// The problem that a response tells of.
export async function refusal(response) {
  let problem = {};
  try {
    problem = (await response.json()) ?? {};
  } catch {
    // Something between us and the server answered.
  }
  const unknown = response.status === 503 ? texts.unavailable : texts.unexpected;
  const wait = Number(response.headers.get("Retry-After"));
  const delay = wait > 0 ? wait * 1000 : 0;
  return new Refused(response.status, problem.code ?? "", problem.detail ?? unknown, delay, problem);
}

// The JSON at a path. Throws Refused; an AbortError when `signal` says so.
// `revive`: as for `JSON.parse`.
export async function read(path, { revive, signal } = {}) {
  const deadline = AbortSignal.timeout(DEADLINE_MS);
  try {
    const response = await fetch(path, {
      headers: headers({ Accept: "application/json" }),
      cache: "no-store",
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
    });
    if (!response.ok) throw await refusal(response);
    return JSON.parse(await response.text(), revive);
  } catch (error) {
    if (error instanceof Refused) throw error;
    signal?.throwIfAborted();
    throw new Refused(0, "", texts.unavailable, 0);
  }
}

// A number that JavaScript would round is kept as it was written, where the browser can
// (ECMAScript, «JSON.parse source text access»).
export function exactly(_name, value, context) {
  const rounded = typeof value === "number" && context?.source !== undefined && String(value) !== context.source;
  return rounded && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
}

// Ask for a change; {status, body} of the answer, body null where there is none. Asked for again with the same `key`
// and body it is made once. Throws Refused; an AbortError when `signal` says so.
export async function send(method, path, { body, key, signal }) {
  try {
    const response = await fetch(path, {
      method,
      body: body || undefined,
      headers: headers({ Accept: "application/json", "Content-Type": "application/json", "Idempotency-Key": key }),
      cache: "no-store",
      signal: AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]),
    });
    if (!response.ok) throw await refusal(response);
    return { status: response.status, body: response.status === 204 ? null : await response.json() };
  } catch (error) {
    if (error instanceof Refused) throw error;
    signal.throwIfAborted();
    throw new Refused(0, "", texts.unavailable, 0);
  }
}

// A download. With a token it is fetched first: a link cannot carry a header.
export async function download(path, name) {
  const link = document.createElement("a");
  link.href = path;
  link.download = name;
  if (token()) {
    const response = await fetch(path, { headers: headers() });
    if (!response.ok) throw await refusal(response);
    link.href = URL.createObjectURL(await response.blob());
  }
  link.click();
  if (token()) URL.revokeObjectURL(link.href);
}
