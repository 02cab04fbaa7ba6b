// Every bound and period of the module, with its default. Names say the unit: `…S` are seconds.

/**
 * @typedef {object} Limits
 * @property {number} heartbeatS the server's; a push that is silent for twice as long is stale
 * @property {number} connectS an attempt to connect is given up after so long
 * @property {number} firstFrameS a stream that opened and says nothing for so long is of no use
 * @property {number} requestS a request is given up after so long
 * @property {number} pingS a WebSocket that does not answer a ping for so long is dead
 * @property {number} backoffBaseS the first wait is at most so long, each further one at most twice that
 * @property {number} backoffCapS no wait is longer, unless the server asked for it
 * @property {number[]} firstLoadS waits between the attempts of the first load; then it has failed
 * @property {number} pollFactor all paces of the poll are multiplied by it
 * @property {number} asideS a transport that does not work is set aside for so long, at first
 * @property {number} checkS how often what is known is compared with what the server has
 * @property {number} checkWaitS how long a check waits for a stream that is behind
 * @property {number} renewS so long before it expires, a token is renewed
 * @property {number} cacheS a read is answered from the cache for so long, ± 10 %
 * @property {number} cacheStaleS and for so much longer while it is read anew
 * @property {number} cacheEntries reads that are kept; the oldest go first
 * @property {number} ringEvents last events that are kept for tabs that take over
 * @property {number} ringChars how much of them
 * @property {number} subscriptions on one WebSocket
 * @property {number} leaderS a tab that leads and says nothing for so long is asked, and then replaced
 * @property {number} reports that may wait for the server to be back
 * @property {number} largeBytes a payload over this is told of
 * @property {number} sendTries how often a change is asked for until somebody answers
 */

/** @type {Readonly<Limits>} */
export const LIMITS = Object.freeze({
  heartbeatS: 15,
  connectS: 10,
  firstFrameS: 5,
  requestS: 15,
  pingS: 5,
  backoffBaseS: 0.5,
  backoffCapS: 30,
  firstLoadS: [1, 2, 4],
  pollFactor: 1,
  asideS: 60,
  checkS: 60,
  checkWaitS: 5,
  renewS: 30,
  cacheS: 10,
  cacheStaleS: 60,
  cacheEntries: 500,
  ringEvents: 1000,
  ringChars: 2 ** 20,
  subscriptions: 100,
  leaderS: 3,
  reports: 10,
  largeBytes: 1e6,
  sendTries: 3,
});
