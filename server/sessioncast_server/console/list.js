// The list of tasks and sessions. Elements are kept by id, so that focus, selection and scroll position stay.

import { texts } from "./texts.js";

export class List {
  #root;
  #tasks = new Map(); // id -> parts of a task
  #links = new Map(); // id -> parts of a session

  constructor(root) {
    this.#root = root;
  }

  // `rows` as `rowsOf` makes them; `address(id)` of a session; `selected` id or null.
  draw(rows, address, selected) {
    const focused = this.#root.contains(document.activeElement) ? document.activeElement : null;
    const home = focused?.closest("[data-home]");
    const items = rows.map(({ task, sessions }) => {
      const parts = this.#task(task);
      const links = sessions.map((session) => this.#session(session, task, address, selected));
      parts.none.hidden = links.length > 0;
      arrange(parts.sessions, links);
      return parts.item;
    });
    arrange(this.#root, items);
    const tasks = new Set(rows.map(({ task }) => task.id));
    const sessions = new Set(rows.flatMap((row) => row.sessions.map(({ id }) => id)));
    for (const id of this.#tasks.keys()) if (!tasks.has(id)) this.#tasks.delete(id);
    for (const id of this.#links.keys()) if (!sessions.has(id)) this.#links.delete(id);
    // Whose session went is left at its task, not at the beginning of the page.
    if (focused !== null && !focused.isConnected) home?.querySelector("button")?.focus();
  }

  #task(task) {
    let parts = this.#tasks.get(task.id);
    if (parts === undefined) {
      parts = {
        item: element("li", "task"),
        title: element("bdi", "title"),
        milestone: element("bdi", "milestone"),
        start: action("Start", "start", task.id),
        none: element("p", "quiet", "no live session"),
        sessions: element("ul", "sessions"),
      };
      const heading = element("h3");
      const head = element("div", "task-head");
      heading.append(parts.title, " ", parts.milestone);
      head.append(heading, parts.start);
      parts.item.dataset.home = "";
      parts.item.append(head, parts.none, parts.sessions);
      this.#tasks.set(task.id, parts);
    }
    say(parts.title, task.title);
    say(parts.milestone, task.milestone ?? "");
    label(parts.start, `Start a session of ${task.title}`);
    return parts;
  }

  #session(session, task, address, selected) {
    let parts = this.#links.get(session.id);
    if (parts === undefined) {
      parts = {
        item: element("li"),
        link: element("a", "session"),
        phase: element("span", "phase"),
        model: element("span", "model"),
        status: element("span", "status"),
        at: element("time", "quiet"),
        restart: action("Restart", "restart", session.id),
        remove: action("Delete", "delete", session.id),
      };
      const about = element("div", "about");
      parts.link.append(parts.phase, parts.model, parts.status);
      parts.link.dataset.session = session.id;
      about.append(parts.at, parts.restart, parts.remove);
      parts.item.append(parts.link, about);
      this.#links.set(session.id, parts);
    }
    parts.link.href = address(session.id);
    if (session.id === selected) parts.link.setAttribute("aria-current", "true");
    else parts.link.removeAttribute("aria-current");
    say(parts.phase, phaseOf(session));
    const model = modelNodes(session);
    if (parts.model.textContent !== textOf(model)) parts.model.replaceChildren(...model);
    say(parts.status, session.status);
    parts.status.dataset.status = session.status;
    say(parts.at, timeOf(session.last_activity_at));
    parts.at.dateTime = session.last_activity_at;
    parts.restart.hidden = session.model.available === false;
    const which = `${phaseOf(session)} (${modelOf(session)}) of ${task.title}`;
    label(parts.restart, `Restart ${which}`);
    label(parts.remove, `Delete ${which}`);
    return parts.item;
  }
}

export function phaseOf(session) {
  return session.debug ? `${session.phase} · debug` : session.phase;
}

export function modelOf(session) {
  return [session.model.name, session.model.version].filter(Boolean).join(" ");
}

// The model, and beside it that it is not there any more.
export function modelNodes(session) {
  const name = element("bdi", "", modelOf(session));
  if (session.model.available !== false) return [name];
  return [name, " ", element("span", "missing", session.model.label ?? texts.modelMissing)];
}

// With the day, if it is not today.
export function timeOf(at) {
  const when = new Date(at);
  const clock = { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false };
  const day = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hour12: false };
  return when.toLocaleString([], when.toDateString() === new Date().toDateString() ? clock : day);
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

function textOf(nodes) {
  return nodes.map((node) => node.textContent ?? node).join("");
}

function action(text, name, id) {
  const button = element("button", "small", text);
  button.type = "button";
  button.dataset.action = name;
  button.dataset.id = id;
  return button;
}

function label(button, text) {
  if (button.ariaLabel !== text) button.ariaLabel = text;
}

function arrange(parent, wanted) {
  const keep = new Set(wanted);
  for (const child of [...parent.children]) if (!keep.has(child)) child.remove();
  wanted.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
}
