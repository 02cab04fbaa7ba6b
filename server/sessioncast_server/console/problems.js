// Refusals in words: the one table from what the server answers to what its reader is told.

import { texts } from "./texts.js";

const UNKNOWN = "Whether the server did it is not known. Trying again does not do it twice.";
const AGAIN = new Set(["create_failed", "unavailable", "session_being_modified"]);
const AGAIN_STATUS = new Set([408, 429]);

// Of a load that failed.
export function loadProblem(problem) {
  if (problem.status === 401) return "This server wants a token: give one above.";
  if (problem.status === 404) return "There is no such project, or no right to it.";
  return problem.status ? problem.message : texts.loadFailed;
}

// Of a change that was refused: {title, lines, again}; `again`: repeating it may help.
// `subject`: {title, failed: the text for a failure of the server's, missing: what a 404 means}.
export function changeProblem(problem, subject) {
  const { title } = subject;
  if (problem.unknown) return { title: "The outcome is not known", lines: [subject.failed, UNKNOWN], again: true };
  const again = AGAIN.has(problem.code) || AGAIN_STATUS.has(problem.status);
  if (again) return { title, lines: [passingText(problem)], again };
  return { title, lines: [finalText(problem, subject), ...notesOf(problem)], again };
}

function passingText(problem) {
  const own = { session_being_modified: texts.busy, create_failed: texts.createFailed, unavailable: texts.unavailable };
  return problem.message || own[problem.code] || texts.unexpected;
}

function finalText(problem, subject) {
  if (problem.status === 401) return "This server wants a token. Close this, and give one under «Token».";
  if (problem.status === 403) return "You have no right to do this.";
  if (problem.status === 404) return subject.missing;
  if (problem.code === "model_not_found") return problem.message || texts.modelMissing;
  return problem.message || texts.unexpected;
}

function notesOf(problem) {
  if (problem.status === 403 && problem.message) return [problem.message];
  return problem.status >= 500 && problem.requestId ? [`Request ${problem.requestId}`] : [];
}
