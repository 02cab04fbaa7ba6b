// What the stream has told of a project: its tasks, and their live sessions.

export class Board {
  tasks = new Map();
  sessions = new Map();
  #gone = new Set(); // sessions that ended since the last snapshot: a slower answer must not bring one back

  // A snapshot replaces everything.
  replace(resources) {
    this.tasks.clear();
    this.sessions.clear();
    this.#gone.clear();
    for (const { kind, data } of resources) {
      if (kind === "task") this.tasks.set(data.id, data);
      else if (kind === "session" && data.deleted_at === null) this.sessions.set(data.id, data);
    }
  }

  // Whether an event changed anything that is listed.
  take(event) {
    const data = event.data;
    if (event.type.startsWith("task.")) return this.task(data);
    if (event.type === "session.output") {
      const session = this.sessions.get(event.session_id);
      if (session === undefined) return false;
      this.sessions.set(session.id, {
        ...session,
        output_seq: Math.max(session.output_seq, data.last),
        last_activity_at: later(session.last_activity_at, event.at),
      });
      return true;
    }
    return event.type.startsWith("session.") && typeof data.id === "string" && this.session(data);
  }

  // A task, from wherever it was read: the highest version wins.
  task(data) {
    if ((this.tasks.get(data.id)?.version ?? 0) > data.version) return false;
    this.tasks.set(data.id, data);
    return true;
  }

  // A session, likewise. Output does not raise the version, so the newest of either is kept.
  session(data) {
    if (data.deleted_at !== null) {
      this.#gone.add(data.id);
      return this.sessions.delete(data.id);
    }
    const known = this.sessions.get(data.id);
    if (this.#gone.has(data.id) || (known?.version ?? 0) > data.version) return false;
    this.sessions.set(data.id, {
      ...data,
      output_seq: Math.max(known?.output_seq ?? 0, data.output_seq),
      last_activity_at: later(known?.last_activity_at ?? data.last_activity_at, data.last_activity_at),
    });
    return true;
  }

  // Tasks, newest first, each with its live sessions by phase; of one phase, where there are several, newest first.
  rows() {
    const byTask = new Map();
    for (const session of this.sessions.values()) {
      if (!byTask.has(session.task_id)) byTask.set(session.task_id, []);
      byTask.get(session.task_id).push(session);
    }
    for (const sessions of byTask.values()) sessions.sort((a, b) => rank(a) - rank(b) || newer(a, b));
    return [...this.tasks.values()]
      .sort(newer)
      .map((task) => ({ task, sessions: byTask.get(task.id) ?? [] }));
  }
}

export const PHASES = ["plan", "run", "verify"];

function rank(session) {
  return PHASES.indexOf(session.phase) * 2 + (session.debug ? 1 : 0);
}

function newer(a, b) {
  return compare(b.created_at, a.created_at) || compare(b.id, a.id);
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

function later(a, b) {
  return Date.parse(a) > Date.parse(b) ? a : b;
}
