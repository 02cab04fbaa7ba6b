// Requests to the server. The token is the tab's, goes into a header and never into an address.

const TOKEN = "sessioncast.token";
const DEADLINE_MS = 15_000;

export const texts = {
  loadFailed: "Failed to load session data. Please try again.",
  unavailable: "The server is currently unavailable. Please try again in a few minutes.",
  unexpected: "An unexpected error occurred. Please contact support.",
};

// A request that was refused. `status` 0: no answer came.
export class Refused extends Error {
  constructor(status, code, detail, retryAfterMs) {
    super(detail);
    this.status = status;
    this.code = code;
    this.retryAfterMs = retryAfterMs;
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
    problem = await response.json();
  } catch {
    // Something between us and the server answered.
  }
  const unknown = response.status === 503 ? texts.unavailable : texts.unexpected;
  const wait = Number(response.headers.get("Retry-After"));
  return new Refused(response.status, problem.code ?? "", problem.detail ?? unknown, wait > 0 ? wait * 1000 : 0);
}

async function request(path, accept) {
  const response = await fetch(path, {
    headers: headers({ Accept: accept }),
    cache: "no-store",
    signal: AbortSignal.timeout(DEADLINE_MS),
  });
  if (!response.ok) throw await refusal(response);
  return response;
}

// The JSON at a path. Throws Refused.
export async function read(path) {
  try {
    return await (await request(path, "application/json")).json();
  } catch (error) {
    throw error instanceof Refused ? error : new Refused(0, "", texts.unavailable, 0);
  }
}

// A download that needs the token: a link cannot carry a header.
export async function download(path, name) {
  const response = await fetch(path, { headers: headers() });
  if (!response.ok) throw await refusal(response);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
