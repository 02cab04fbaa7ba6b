// The console: wiring of the parts, and the page's address.

import { connect } from "/client/sessioncast.js";
import { read, setToken, token } from "./api.js";
import { Dialog } from "./dialog.js";
import { readNewest } from "./large.js";
import { List, say } from "./list.js";
import { deleteSession, TaskForm } from "./manage.js";
import { loadProblem } from "./problems.js";
import { PHASES, rowsOf } from "./rows.js";
import { Selection } from "./selection.js";
import { Starter } from "./start.js";
import { StartForm } from "./startform.js";
import { ConnectionState, Notice } from "./status.js";
import { texts } from "./texts.js";

// All but threads, which this page does not show: who may read everybody's would be sent every word of every chat.
const KINDS = ["task", "session", "output", "provider", "version", "model"];
const NOTHING = { tasks: new Map(), sessions: new Map() };
const PROJECT = "sessioncast.project";

const byId = (id) => document.getElementById(id);
let stream = null;
// What is there of the project that is shown.
const board = {
  get tasks() {
    return (stream?.live() ?? NOTHING).tasks;
  },
  get sessions() {
    return (stream?.live() ?? NOTHING).sessions;
  },
};
const list = new List(byId("tasks"));
const connection = new ConnectionState();
const selection = new Selection(board, address);
const notice = new Notice("notice", refresh);
const dialog = new Dialog(byId("dialog"));
const starter = new Starter(dialog, show);
const startForm = new StartForm(starter, dialog);
let project = "";
let loaded = false;
let drawing = false;

function address(session) {
  const query = new URLSearchParams({ project });
  if (session) query.set("session", session);
  return `/?${query}`;
}

// One subscription for all of a project, and one connection for all tabs: one position, one truth.
function open(name) {
  const before = stream;
  stream = null; // what it says last is nobody's business
  before?.close();
  project = name;
  loaded = false;
  byId("too-large").hidden = true;
  localStorage.setItem(PROJECT, name);
  byId("project").value = name;
  say(byId("token-project"), name);
  notice.hide();
  const about = () => selection.id ?? new URLSearchParams(location.search).get("session");
  const opened = connect("", { project: name, filter: { kinds: KINDS }, token: token() || null, about });
  stream = opened;
  const on = (type, then) => opened.addEventListener(type, ({ detail }) => opened === stream && then(detail));
  on("state", onState);
  on("snapshot", (snapshot) => onSnapshot(opened, snapshot));
  on("event", onEvent);
  on("mismatch", draw);
  connection.heardAt = () => opened.state.heardAt;
  connection.show("connecting", {});
  draw();
}

function onState(now) {
  const { state, first, why, at, problem } = now;
  connection.show(state, now);
  if (state === "live" || state === "polling") {
    notice.hide();
    selection.refresh();
  } else if (state === "reconnecting" && first && problem !== null) {
    notice.show(texts.loadFailed, "", at);
  } else if (state === "failed") {
    notice.show(texts.loadFailed, why, null);
  } else if (state === "refused") {
    notice.show(loadProblem(problem), "", null);
    if (problem.status === 401) showToken(true);
  }
}

function onSnapshot(from, { tooLarge, read: lists, reason, renewed }) {
  loaded = true;
  byId("too-large").hidden = !tooLarge;
  if (tooLarge) readLarge(from, lists[0]);
  if (reason !== null) connection.refreshed(reason);
  selection.replaced(renewed);
  draw();
}

function onEvent(event) {
  selection.take(event);
  draw();
}

// Versions settle who is newer, an event or an answer.
async function readLarge(from, path) {
  try {
    await readNewest(project, path, (kind, resource) => {
      if (from !== stream) return;
      stream.live().put(kind, resource);
      draw();
    });
  } catch (error) {
    if (from === stream) notice.show(texts.loadFailed, error.message, null);
  }
}

// At most once a frame, however many events there are.
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const rows = rowsOf(board);
    list.draw(rows, address, selection.id);
    byId("no-tasks").hidden = !loaded || rows.length > 0;
    selection.draw();
  });
}

function refresh() {
  notice.hide();
  stream?.retry();
}

// What is shown may be out of date: compare it with what the server has.
function refreshStale() {
  stream?.retry();
  stream?.refresh();
}

function showToken(shown) {
  byId("token-form").hidden = !shown;
  byId("token-button").setAttribute("aria-expanded", String(shown));
  if (shown) byId("token").focus();
}

// What the address asks for is shown.
function navigate() {
  const asked = new URLSearchParams(location.search);
  const name = asked.get("project") || localStorage.getItem(PROJECT) || "default";
  if (!asked.get("project")) history.replaceState(null, "", `/?${new URLSearchParams({ project: name })}`);
  if (name !== project) {
    dialog.close(); // what is asked there belongs to another project
    startForm.close();
    open(name);
  }
  selection.choose(name, asked.get("session"));
  draw();
}

// Of a start that went well.
function show(session) {
  say(byId("said"), "");
  say(byId("said"), "The session is shown.");
  history.pushState(null, "", address(session));
  navigate();
}

function act(action, id) {
  const session = board.sessions.get(id);
  if (action === "start") {
    const theirs = [...board.sessions.values()].filter(({ task_id, debug }) => task_id === id && !debug);
    const free = PHASES.find((phase) => !theirs.some((other) => other.phase === phase));
    startForm.open(board.tasks.get(id), free ?? "run");
  } else if (session !== undefined) {
    if (action === "restart") starter.restart(id);
    else deleteSession(dialog, session);
  }
}

function useToken(value) {
  setToken(value);
  byId("token").value = "";
  showToken(false);
  open(project);
  selection.refresh();
}

byId("project-form").addEventListener("submit", (event) => {
  event.preventDefault();
  history.pushState(null, "", `/?${new URLSearchParams({ project: byId("project").value })}`);
  navigate();
});
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(byId("token").value.trim());
});
byId("token-forget").addEventListener("click", () => useToken(""));
byId("token-button").addEventListener("click", () => showToken(byId("token-form").hidden));
new TaskForm(byId("task-form"), dialog, () => project);
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("button[data-action]");
  if (button) act(button.dataset.action, button.dataset.id);
  const link = event.target.closest?.("a[data-session]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  history.pushState(null, "", link.href);
  navigate();
});
addEventListener("popstate", navigate);
byId("stale-refresh").addEventListener("click", refreshStale);
setInterval(() => {
  connection.tick();
  notice.tick();
  selection.notice.tick();
}, 500);

navigate();
if (token() === "") byId("token-button").title = "Give a token, if this server wants one";
read("/console/config.json").then(
  (config) => {
    if (!config.support_url) return;
    notice.support(config.support_url);
    selection.notice.support(config.support_url);
    dialog.support = config.support_url;
  },
  () => {}, // the page works without a support address
);
