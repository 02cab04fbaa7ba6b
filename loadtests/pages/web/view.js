// The page's components, and what renders them: as a framework does without memoising, a component that is rendered
// runs with all that are in it, and only what came out different is written into the document.

export const view = { renders: { Page: 0, SideBar: 0, GitSection: 0 }, seen: [] };
globalThis.view = view;

function h(tag, props, ...children) {
  return { tag, props, children: children.flat() };
}

/** Make an element's only child what it should be. */
export function render(into, wanted) {
  patch(into, 0, wanted);
}

function patch(parent, index, wanted) {
  const node = parent.childNodes[index];
  if (typeof wanted === "string") {
    if (node?.nodeType !== Node.TEXT_NODE) put(parent, node, document.createTextNode(wanted));
    else if (node.data !== wanted) node.data = wanted;
    return;
  }
  let element = node;
  if (node?.localName !== wanted.tag) {
    element = document.createElement(wanted.tag);
    put(parent, node, element);
  }
  for (const [name, value] of Object.entries(wanted.props)) {
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  }
  wanted.children.forEach((child, at) => patch(element, at, child));
  while (element.childNodes.length > wanted.children.length) element.lastChild.remove();
}

function put(parent, old, node) {
  if (old) old.replaceWith(node);
  else parent.append(node);
}

export function Page(session, sideBar) {
  view.renders.Page += 1;
  return h(
    "main",
    { class: `status-${session.status}` },
    h("h1", {}, `Session ${session.id}`),
    h("p", {}, `${session.phase}, ${session.model.name}: ${session.status}`),
    h("p", {}, `${session.output_seq} pieces of output, last at ${session.last_activity_at}`),
    h("div", { id: "side-bar" }, ...(sideBar ? [sideBar] : [])),
  );
}

export function SideBar(session, git) {
  view.renders.SideBar += 1;
  const entries = Object.entries(session.metadata).filter(([name]) => name !== "files");
  return h(
    "aside",
    {},
    h("h2", {}, `${session.user}, version ${session.version}`),
    h("dl", {}, ...entries.map(([name, value]) => [h("dt", {}, name), h("dd", {}, JSON.stringify(value))]).flat()),
    GitSection(git ?? session),
  );
}

export function GitSection(session) {
  view.renders.GitSection += 1;
  const { worktree, files } = session.metadata;
  return h("section", {}, h("h3", {}, worktree), h("ul", {}, ...files.map((file) => h("li", { title: file }, file))));
}

/** A session is shown. */
export function saw(session) {
  const last = view.seen.at(-1);
  if (last?.[1] === session.version && last?.[2] === session.output_seq) return;
  view.seen.push([Date.now(), session.version, session.output_seq]);
}
