// Who we are to the server.

/** A token, and when to ask for another one. It goes into headers and frames, never into an address. */
export class Identity {
  #source;
  #renewS;
  #token = null;
  #asking = null;

  /**
   * @param {string | (() => string | null | Promise<string | null>) | null} [source]
   * @param {number} [renewS] how long before its end a token counts as over
   */
  constructor(source = null, renewS = 30) {
    this.#source = source;
    this.#renewS = renewS;
  }

  /** Whether another token can be had. */
  get renewable() {
    return typeof this.#source === "function";
  }

  /**
   * The token to use now, null for none. Whoever asks at the same time is given the same one.
   * @param {{fresh?: boolean}} [options] `fresh`: the last one was refused
   * @returns {Promise<string | null>}
   */
  async token({ fresh = false } = {}) {
    if (!this.renewable) return this.#source || null;
    if (this.#token !== null && !fresh && !this.#ends(this.#token)) return this.#token;
    this.#asking ??= Promise.resolve(this.#source()).finally(() => {
      this.#asking = null;
    });
    this.#token = (await this.#asking) || null;
    return this.#token;
  }

  /**
   * Headers of a request.
   * @param {Record<string, string>} [more]
   * @param {{fresh?: boolean}} [options]
   */
  async headers(more = {}, options = {}) {
    const token = await this.token(options);
    return token === null ? more : { ...more, Authorization: `Bearer ${token}` };
  }

  /** Seconds until the token should be renewed, null where that is not known or no other can be had. */
  renewalIn() {
    const end = this.renewable ? claims(this.#token)?.exp : undefined;
    return typeof end === "number" ? Math.max(0, end - this.#renewS - Date.now() / 1000) : null;
  }

  /**
   * A text that two have in common only when they may see the same: of a JWT its user and rights, else of the token.
   * @returns {Promise<string>}
   */
  async name() {
    const token = await this.token();
    if (token === null) return "";
    const { sub, projects, scopes } = claims(token) ?? {};
    return sub === undefined ? token : JSON.stringify([sub, projects, scopes]);
  }

  #ends(token) {
    const end = claims(token)?.exp;
    return typeof end === "number" && end - this.#renewS <= Date.now() / 1000;
  }
}

// What a JWT says (RFC 7519); nothing is verified, that is the server's business.
function claims(token) {
  try {
    const part = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (char) => char.charCodeAt(0))));
  } catch {
    return null;
  }
}
