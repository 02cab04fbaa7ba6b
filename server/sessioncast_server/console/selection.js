// The session whose output is shown.

import { download, read, token } from "./api.js";
import { element, modelNodes, phaseOf, say, timeOf } from "./list.js";
import { Output } from "./output.js";
import { Pane } from "./pane.js";
import { Notice } from "./status.js";
import { texts } from "./texts.js";
import { Usage } from "./usage.js";

const byId = (id) => document.getElementById(id);

export class Selection {
  id = null;
  notice = new Notice("output-notice", () => this.refresh());
  #board;
  #address;
  #project = "";
  #session = null; // as last known, also when it is live no more
  #output = null;
  #pane = new Pane({ scroller: byId("scroller"), text: byId("output"), earlier: byId("earlier"), jump: byId("jump") });
  #export = element("a", "", "export");
  #usage = new Usage(byId("detail-usage"));

  // `address(id)` of a session.
  constructor(board, address) {
    this.#board = board;
    this.#address = address;
    this.#export.addEventListener("click", (event) => this.#download(event));
  }

  choose(project, id) {
    if (project === this.#project && id === this.id) return;
    this.#project = project;
    this.id = id;
    this.#session = null;
    this.#begin();
    this.#usage.choose(id);
    if (id !== null) this.#find();
    this.draw();
  }

  // A snapshot came. What was read in another life of the log may never have happened: it is read anew.
  replaced(renewed) {
    if (this.id === null) return;
    if (renewed) this.#begin();
    this.#usage.refresh();
    this.#find();
    this.draw();
  }

  take(event) {
    if (event.session_id !== this.id || this.id === null) return;
    this.#usage.take(event);
    if (event.type === "session.output") this.#output.take(event.data);
    else if (event.type.startsWith("session.") && typeof event.data.id === "string") this.#known(event.data);
  }

  // The server is there again, or the reader asks.
  refresh() {
    if (this.id === null) return;
    this.notice.hide();
    if (this.#session === null) this.#find();
    else this.#output.retry();
  }

  draw() {
    const session = this.#board.sessions.get(this.id) ?? this.#session;
    const task = session === null ? undefined : this.#board.tasks.get(session.task_id);
    say(byId("detail-title"), task?.title ?? "Output");
    byId("detail-notice").hidden = session === null || session.deleted_at === null;
    if (session === null) {
      say(byId("detail-about"), this.id === null ? "Choose a session to see its output." : "");
      return;
    }
    const rest = [session.status, `by ${session.user}`, `started ${timeOf(session.created_at)}`];
    rest.push(`last activity ${timeOf(session.last_activity_at)}`);
    const line = element("span");
    line.append(`${phaseOf(session)} · `, ...modelNodes(session), ` · ${rest.join(" · ")} · `);
    const shown = byId("detail-about").firstElementChild;
    if (shown?.isEqualNode(line) !== true) byId("detail-about").replaceChildren(line, this.#export);
    this.#export.href = `/v1/sessions/${session.id}/export`;
    if (session.deleted_at !== null) this.#drawEnd(session);
  }

  #drawEnd(session) {
    const words = session.replaced_by === null ? "This session was deleted." : "This session was replaced. ";
    const nodes = [words];
    if (session.replaced_by !== null) {
      const link = element("a", "", "View the active session.");
      link.href = this.#address(session.replaced_by);
      link.dataset.session = session.replaced_by;
      nodes.push(link);
    }
    byId("detail-notice").replaceChildren(...nodes);
  }

  #begin() {
    this.#output?.close();
    this.#pane.clear();
    this.notice.hide();
    byId("output").dataset.shown = "0";
    if (this.id === null) return;
    this.#output = new Output(this.id, {
      chunk: (chunk) => {
        this.#pane.write(chunk.stream, chunk.text);
        byId("output").dataset.shown = String(chunk.seq);
      },
      skipped: () => this.#pane.skipped(),
      loaded: () => this.notice.hide(),
      failed: (error, at) => this.notice.show(texts.loadFailed, error.message, at),
    });
  }

  // The list has it if it is live; one that ended is asked for, and may have said more before its end.
  async #find() {
    const live = this.#board.sessions.get(this.id);
    if (live !== undefined) {
      this.#known(live);
      return;
    }
    const output = this.#output;
    try {
      const session = await read(`/v1/sessions/${encodeURIComponent(this.id)}`);
      if (output !== this.#output) return; // another was chosen meanwhile
      if (session.project_id === this.#project) this.#known(session);
      else this.notice.show("There is no such session in this project.", "", null);
    } catch (error) {
      if (output !== this.#output || this.#session !== null || error.status === 401) return;
      const missing = error.status === 404;
      this.notice.show(missing ? "There is no such session." : texts.loadFailed, missing ? "" : error.message, null);
    }
  }

  #known(session) {
    this.notice.hide();
    if ((this.#session?.version ?? 0) <= session.version) this.#session = session;
    this.#output.know(session.output_seq);
    this.draw();
  }

  // In open mode the link does it by itself.
  #download(event) {
    if (!token()) return;
    event.preventDefault();
    const name = `session-${this.id}.json`;
    download(this.#export.href, name).catch((error) => this.notice.show(texts.loadFailed, error.message, null));
  }
}
