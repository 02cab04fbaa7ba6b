// Tasks and their live sessions in the order of the list.

export const PHASES = ["plan", "run", "verify"];

// Tasks, newest first, each with its live sessions by phase; of one phase, where there are several, newest first.
export function rowsOf({ tasks, sessions }) {
  const byTask = new Map();
  for (const session of sessions.values()) {
    if (!byTask.has(session.task_id)) byTask.set(session.task_id, []);
    byTask.get(session.task_id).push(session);
  }
  for (const of of byTask.values()) of.sort((a, b) => rank(a) - rank(b) || newer(a, b));
  return [...tasks.values()].sort(newer).map((task) => ({ task, sessions: byTask.get(task.id) ?? [] }));
}

function rank(session) {
  return PHASES.indexOf(session.phase) * 2 + (session.debug ? 1 : 0);
}

function newer(a, b) {
  return compare(b.created_at, a.created_at) || compare(b.id, a.id);
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}
