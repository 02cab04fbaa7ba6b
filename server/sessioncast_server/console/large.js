// A project too large for a snapshot: the newest of the list that the snapshot names.

import { read } from "./api.js";

// As many as one poll may name.
const MAX_TASKS = 100;
const MAX_SESSIONS = 200;

// Tells `take(kind, resource)` of the newest tasks and their live sessions, in two requests.
export async function readNewest(project, listPath, take) {
  const tasks = (await read(`${listPath}?limit=${MAX_TASKS}`)).data;
  for (const task of tasks) take("task", task);
  const ids = tasks.map(({ id }) => id);
  if (ids.length > 0) await readTasks(`/v1/projects/${encodeURIComponent(project)}/events`, ids, take);
}

// The poll of the stream's address gives the resources of all tasks that it names. It has a bound of its own: what is
// too much at once is asked for in halves, and of a task that is too much alone the newest sessions are listed.
async function readTasks(path, ids, take) {
  const answer = await read(`${path}?${new URLSearchParams(ids.map((id) => ["task", id]))}`);
  if (!answer.too_large) {
    for (const { kind, data } of answer.resources) take(kind, data);
  } else if (ids.length > 1) {
    const half = Math.ceil(ids.length / 2);
    await readTasks(path, ids.slice(0, half), take);
    await readTasks(path, ids.slice(half), take);
  } else {
    for (const session of (await read(`${answer.read[0]}?limit=${MAX_SESSIONS}`)).data) take("session", session);
  }
}
