// What a reader should know before a session is replaced.

import { download } from "./api.js";
import { element, modelNodes, modelOf, timeOf } from "./list.js";
import { texts } from "./texts.js";

const MAX_VALUE = 60;

// The question for a 409 of a start; null for any other refusal. `model` is the one that was asked for.
export function confirmation(problem, model) {
  const { existing, confirm, difference, warning } = problem.document;
  const changed = problem.code === "session_changed";
  if (!confirm || !(changed || problem.code === "model_change_requires_confirmation")) return null;
  const body = [];
  if (changed) body.push(element("p", "fresh", problem.message));
  body.push(element("p", "", changed ? texts.confirm : problem.message));
  body.push(element("p", "warning", warning ?? texts.loss));
  body.push(element("h3", "", "The existing session"), about(existing));
  // Last, for there may be much of it.
  if (difference) body.push(...differing(difference, existing.model, model));
  else body.push(element("p", "", `What is to be started: ${modelOf({ model })}.`));
  const choices = [{ label: "Replace", value: confirm, danger: true }];
  return { title: "Replace the session?", body, choices, aside: exporting(existing.id) };
}

// A session as a list of terms.
export function about(session) {
  const list = element("dl");
  const agent = Array.isArray(session.agent) ? session.agent.join(", ") : session.agent;
  for (const [term, nodes] of [
    ["Model", modelNodes(session)],
    ["Agent", agent ? [element("bdi", "", agent)] : []],
    ["User", [element("bdi", "", session.user)]],
    ["Status", [session.status]],
    ["Started", [timeOf(session.created_at)]],
    ["Last activity", [timeOf(session.last_activity_at)]],
  ]) {
    if (nodes.length === 0) continue;
    const value = element("dd");
    value.append(...nodes);
    list.append(element("dt", "", term), value);
  }
  return list;
}

// A button that downloads a session's export.
export function exporting(id) {
  const line = element("p", "aside");
  const button = element("button", "", "Export the session");
  const said = element("span", "quiet");
  button.type = "button";
  said.role = "status";
  button.addEventListener("click", async () => {
    try {
      await download(`/v1/sessions/${id}/export`, `session-${id}.json`);
      said.textContent = "";
    } catch (error) {
      said.textContent = `It could not be exported: ${error.message}`;
    }
  });
  line.append(said, " ", button);
  return line;
}

const RESULTS = {
  same: "The model is the same; it starts anew.",
  minor: "The model differs in what counts as minor:",
  changed: "The model differs:",
};

function differing(difference, before, after) {
  const list = element("ul", "differing");
  for (const field of difference.fields ?? []) {
    const item = element("li", "", `${fieldName(field)}: from `);
    item.append(value(at(before, field)), " to ", value(at(after, field)));
    list.append(item);
  }
  return [element("p", "", RESULTS[difference.result] ?? RESULTS.changed), ...(list.children.length ? [list] : [])];
}

function fieldName(field) {
  return field.startsWith("params.") ? `parameter ${field.slice("params.".length)}` : field;
}

// A parameter's name may have dots itself.
function at(model, field) {
  return field.startsWith("params.") ? model.params?.[field.slice("params.".length)] : model[field];
}

function value(found) {
  if (found === undefined || found === null) return element("i", "", "none");
  const text = typeof found === "string" ? found : JSON.stringify(found);
  return element("bdi", "value", text.length > MAX_VALUE ? `${text.slice(0, MAX_VALUE)}…` : text);
}
