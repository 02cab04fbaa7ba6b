// sessioncast for browsers: live sessions, in order and without loss, over whatever way there is.

export { connect, Connection } from "./connection.js";
export { LIMITS } from "./limits.js";
export { Live } from "./live.js";
export { ProtocolError } from "./position.js";
export { LOAD_FAILED, Refused } from "./refused.js";
