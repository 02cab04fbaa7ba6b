// The console: wiring of the parts, and the page's address.

import { read, setToken, token } from "./api.js";
import { Board, PHASES } from "./board.js";
import { Dialog } from "./dialog.js";
import { readNewest } from "./large.js";
import { List, say } from "./list.js";
import { deleteSession, TaskForm } from "./manage.js";
import { loadProblem } from "./problems.js";
import { Selection } from "./selection.js";
import { Starter } from "./start.js";
import { StartForm } from "./startform.js";
import { ConnectionState, Notice } from "./status.js";
import { Stream } from "./stream.js";
import { texts } from "./texts.js";

// All but threads, which this page does not show: who may read everybody's would be sent every word of every chat.
const KINDS = "task,session,output,provider,version,model";
const PROJECT = "sessioncast.project";

const byId = (id) => document.getElementById(id);
const board = new Board();
const list = new List(byId("tasks"));
const connection = new ConnectionState();
const selection = new Selection(board, address);
const notice = new Notice("notice", refresh);
const dialog = new Dialog(byId("dialog"));
const starter = new Starter(dialog, show);
const startForm = new StartForm(starter, dialog);
let project = "";
let stream = null;
let loaded = false;
let drawing = false;

function address(session) {
  const query = new URLSearchParams({ project });
  if (session) query.set("session", session);
  return `/?${query}`;
}

// One stream for all of a project: one connection a tab (browsers give a server six), one position, one truth.
function open(name) {
  stream?.stop();
  project = name;
  loaded = false;
  board.replace([]);
  byId("too-large").hidden = true;
  localStorage.setItem(PROJECT, name);
  byId("project").value = name;
  say(byId("token-project"), name);
  notice.hide();
  const opened = new Stream(`/v1/projects/${encodeURIComponent(name)}/events?kinds=${KINDS}`, {
    state: onState,
    snapshot: (frame, renewed) => onSnapshot(opened, frame, renewed),
    event: onEvent,
  });
  stream = opened;
  connection.heardAt = () => opened.heardAt;
  stream.start();
  draw();
}

function onState(state, detail) {
  connection.show(state, detail);
  if (state === "live") {
    notice.hide();
    selection.refresh();
  } else if (state === "reconnecting" && detail.first && detail.why) {
    notice.show(texts.loadFailed, "", detail.at);
  } else if (state === "failed") {
    notice.show(texts.loadFailed, detail.message, null);
  } else if (state === "refused") {
    notice.show(loadProblem(detail), "", null);
    if (detail.status === 401) showToken(true);
  }
}

function onSnapshot(from, frame, renewed) {
  board.replace(frame.resources);
  loaded = true;
  byId("too-large").hidden = !frame.too_large;
  if (frame.too_large) readLarge(from, frame.read[0]);
  selection.replaced(renewed);
  draw();
}

function onEvent(event) {
  const changed = board.take(event);
  selection.take(event);
  if (changed) draw();
}

// Versions settle who is newer, an event or an answer.
async function readLarge(from, path) {
  try {
    await readNewest(project, path, (kind, resource) => {
      if (from !== stream) return;
      if (kind === "task") board.task(resource);
      else if (kind === "session") board.session(resource);
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
    const rows = board.rows();
    list.draw(rows, address, selection.id);
    byId("no-tasks").hidden = !loaded || rows.length > 0;
    selection.draw();
  });
}

function refresh() {
  notice.hide();
  stream?.retry();
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
addEventListener("online", () => stream?.retry());
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
