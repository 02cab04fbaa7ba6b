// Requests to the server. The token is the tab's, goes into a header and never into an address.

import { Refused, refusal } from "/client/refused.js";

export { Refused, refusal };

const TOKEN = "sessioncast.token";
const DEADLINE_MS = 15_000;

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
    throw new Refused(0);
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
    throw new Refused(0);
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
