// A place in a project's log: `epoch:offset`.

const FORM = /^([0-9a-z]{1,32}):(0|[1-9][0-9]{0,17})$/;

/** What the server said is not what a server of ours says. */
export class ProtocolError extends Error {
  name = "ProtocolError";
}

/**
 * The parts of a position.
 * @param {unknown} text
 * @returns {{epoch: string, offset: bigint}} offsets reach beyond what a number holds exactly
 * @throws {ProtocolError} it is not of the form
 */
export function parsePosition(text) {
  const match = typeof text === "string" ? FORM.exec(text) : null;
  if (match === null) throw new ProtocolError(`not a position: ${String(text).slice(0, 60)}`);
  return { epoch: match[1], offset: BigInt(match[2]) };
}

/**
 * Whether all that is known at `b` is known at `a`, too; false where they are of different lives of the log.
 * @param {string | null} a
 * @param {string | null} b
 */
export function reaches(a, b) {
  if (a === null || b === null) return false;
  const [one, other] = [parsePosition(a), parsePosition(b)];
  return one.epoch === other.epoch && one.offset >= other.offset;
}

/** Whether two positions are of one life of the log. */
export function sameEpoch(a, b) {
  return parsePosition(a).epoch === parsePosition(b).epoch;
}
