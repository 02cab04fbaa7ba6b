// The list of tasks and sessions. Elements are kept by id, so that focus, selection and scroll position stay.

export class List {
  #root;
  #tasks = new Map(); // id -> {item, title, milestone, none, sessions}
  #links = new Map(); // id -> parts of a session's link

  constructor(root) {
    this.#root = root;
  }

  // `rows` of a Board; `address(id)` of a session; `selected` id or null.
  draw(rows, address, selected) {
    const items = rows.map(({ task, sessions }) => {
      const parts = this.#task(task);
      const links = sessions.map((session) => this.#session(session, address, selected));
      parts.none.hidden = links.length > 0;
      arrange(parts.sessions, links);
      return parts.item;
    });
    arrange(this.#root, items);
    const tasks = new Set(rows.map(({ task }) => task.id));
    const sessions = new Set(rows.flatMap((row) => row.sessions.map(({ id }) => id)));
    for (const id of this.#tasks.keys()) if (!tasks.has(id)) this.#tasks.delete(id);
    for (const id of this.#links.keys()) if (!sessions.has(id)) this.#links.delete(id);
  }

  #task(task) {
    let parts = this.#tasks.get(task.id);
    if (parts === undefined) {
      parts = {
        item: element("li", "task"),
        title: element("bdi", "title"),
        milestone: element("bdi", "milestone"),
        none: element("p", "quiet", "no live session"),
        sessions: element("ul", "sessions"),
      };
      const heading = element("h3");
      heading.append(parts.title, " ", parts.milestone);
      parts.item.append(heading, parts.none, parts.sessions);
      this.#tasks.set(task.id, parts);
    }
    say(parts.title, task.title);
    say(parts.milestone, task.milestone ?? "");
    return parts;
  }

  #session(session, address, selected) {
    let parts = this.#links.get(session.id);
    if (parts === undefined) {
      parts = {
        item: element("li"),
        link: element("a", "session"),
        phase: element("span", "phase"),
        model: element("bdi", "model"),
        status: element("span", "status"),
        at: element("time", "quiet"),
      };
      parts.link.append(parts.phase, parts.model, parts.status, parts.at);
      parts.link.dataset.session = session.id;
      parts.item.append(parts.link);
      this.#links.set(session.id, parts);
    }
    parts.link.href = address(session.id);
    if (session.id === selected) parts.link.setAttribute("aria-current", "true");
    else parts.link.removeAttribute("aria-current");
    say(parts.phase, phaseOf(session));
    say(parts.model, modelOf(session));
    say(parts.status, session.status);
    parts.status.dataset.status = session.status;
    say(parts.at, timeOf(session.last_activity_at));
    parts.at.dateTime = session.last_activity_at;
    return parts.item;
  }
}

export function phaseOf(session) {
  return session.debug ? `${session.phase} · debug` : session.phase;
}

export function modelOf(session) {
  return [session.model.name, session.model.version].filter(Boolean).join(" ");
}

export function timeOf(at) {
  return new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

// Only what changed is written: a selection of text in the page stays.
export function say(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

function arrange(parent, wanted) {
  const keep = new Set(wanted);
  for (const child of [...parent.children]) if (!keep.has(child)) child.remove();
  wanted.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
}
