// Where output is shown: the last lines of it, following the end unless the reader scrolled up.

import { classes, PLAIN, styled } from "./ansi.js";

const MAX_LINES = 5_000;
const MAX_LINE_CHARS = 20_000;
const MAX_CHARS = 4_000_000;
const NEAR_PX = 24;

// `parts`: {scroller, text, earlier, jump}; `earlier` is shown once lines are left out, `jump` while not following.
export class Pane {
  #parts;
  #lines = []; // {raw, cut, stream, begin, end, element}
  #chars = 0;
  #dropped = []; // elements whose lines are gone
  #dirty = new Set();
  #earlier = false;
  #following = true;
  #scheduled = false;

  constructor(parts) {
    this.#parts = parts;
    parts.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    parts.jump.addEventListener("click", () => this.follow());
  }

  clear() {
    this.#lines = [];
    this.#chars = 0;
    this.#dropped = [];
    this.#dirty.clear();
    this.#parts.text.replaceChildren();
    this.#earlier = false;
    this.#parts.earlier.hidden = true;
    this.follow();
  }

  write(stream, text) {
    let start = 0;
    while (start < text.length) {
      const newline = text.indexOf("\n", start);
      const end = newline < 0 ? text.length : newline + 1;
      this.#append(stream, text.slice(start, end));
      start = end;
    }
    this.#trim();
    this.#schedule();
  }

  // What follows does not join what is shown.
  skipped() {
    while (this.#lines.length > 0) this.#drop();
    this.#earlier = true;
    this.#schedule();
  }

  follow() {
    this.#following = true;
    this.#parts.jump.hidden = true;
    this.#parts.scroller.scrollTop = this.#parts.scroller.scrollHeight;
  }

  #append(stream, piece) {
    let line = this.#lines.at(-1);
    if (line === undefined || line.raw.endsWith("\n")) {
      line = { raw: "", cut: 0, stream, begin: line?.end ?? PLAIN, end: line?.end ?? PLAIN, element: null };
      this.#lines.push(line);
    }
    const newline = piece.endsWith("\n");
    const body = newline ? piece.slice(0, -1) : piece;
    const room = Math.max(0, MAX_LINE_CHARS - line.raw.length);
    const kept = body.slice(0, room) + (newline ? "\n" : "");
    line.raw += kept;
    line.cut += Math.max(0, body.length - room);
    line.end = styled(bodyOf(line.raw), line.begin).style;
    this.#chars += kept.length;
    this.#dirty.add(line);
  }

  #trim() {
    while (this.#lines.length > MAX_LINES || (this.#chars > MAX_CHARS && this.#lines.length > 1)) {
      this.#drop();
      this.#earlier = true;
    }
  }

  #drop() {
    const line = this.#lines.shift();
    this.#chars -= line.raw.length;
    this.#dirty.delete(line);
    if (line.element !== null) this.#dropped.push(line.element);
  }

  // At most once a frame; a hidden page has no frames, and its text is bounded without them.
  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#draw();
    });
  }

  #draw() {
    for (const element of this.#dropped) element.remove();
    this.#dropped = [];
    const added = document.createDocumentFragment();
    for (const line of this.#dirty) {
      if (line.element === null) {
        line.element = document.createElement("span");
        line.element.className = line.stream === "log" ? "line" : "line other";
        if (line.stream !== "log") line.element.title = line.stream;
        added.append(line.element);
      }
      fill(line);
    }
    this.#dirty.clear();
    this.#parts.text.append(added);
    this.#parts.earlier.hidden = !this.#earlier;
    if (this.#following) this.follow();
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#parts.scroller;
    this.#following = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    this.#parts.jump.hidden = this.#following;
  }
}

function bodyOf(raw) {
  return raw.endsWith("\n") ? raw.slice(0, -1) : raw;
}

function fill(line) {
  const nodes = styled(bodyOf(line.raw), line.begin).runs.map(({ text, style }) => {
    const names = classes(style);
    if (names === "") return text;
    const run = document.createElement("span");
    run.className = names;
    run.textContent = text;
    return run;
  });
  if (line.cut > 0) {
    const note = document.createElement("span");
    note.className = "note";
    note.textContent = ` … ${line.cut.toLocaleString("en")} more characters`;
    nodes.push(note);
  }
  if (line.raw.endsWith("\n")) nodes.push("\n");
  line.element.replaceChildren(...nodes);
}
