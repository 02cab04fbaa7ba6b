// Terminal text as styled runs: colours and weight are kept, every other control is dropped (ECMA-48, section 5.4).

// OSC, DCS and the like with their text, up to BEL or ST; CSI; other escapes; a sequence that is cut off; controls.
const CONTROL =
  /\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|$)|\x1b\[([0-?]*)[ -/]*([@-~])|\x1b\[[0-?]*[ -/]*$|\x1b[ -/]*[0-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;
const COLOURS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

export const PLAIN = Object.freeze({ colour: "", bold: false, dim: false, italic: false, underline: false });

// A line (without its newline) in the style it begins with: {runs: [{text, style}], style: that of its end}.
export function styled(line, style) {
  const runs = [];
  let start = 0;
  const add = (end) => {
    if (end > start) runs.push({ text: line.slice(start, end), style });
  };
  for (const match of line.matchAll(CONTROL)) {
    add(match.index);
    start = match.index + match[0].length;
    // A carriage return goes back to the line's begin: what a progress bar wrote before is written over.
    if (match[0] === "\r" && start < line.length) runs.length = 0;
    else if (match[2] === "m") style = sgr(match[1], style);
  }
  add(line.length);
  return { runs, style };
}

export function classes(style) {
  const names = ["bold", "dim", "italic", "underline"].filter((name) => style[name]);
  if (style.colour) names.push(`c-${style.colour}`);
  return names.join(" ");
}

function sgr(parameters, style) {
  const codes = parameters.split(/[;:]/).map(Number);
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at];
    if (code === 38 || code === 48) {
      at += codes[at + 1] === 2 ? 4 : 2; // 256 and true colours are not shown
    } else style = sgrOne(code, style);
  }
  return style;
}

function sgrOne(code, style) {
  if (code === 0) return PLAIN;
  if (code === 1) return { ...style, bold: true };
  if (code === 2) return { ...style, dim: true };
  if (code === 3) return { ...style, italic: true };
  if (code === 4) return { ...style, underline: true };
  if (code === 22) return { ...style, bold: false, dim: false };
  if (code === 23) return { ...style, italic: false };
  if (code === 24) return { ...style, underline: false };
  if (code >= 30 && code <= 37) return { ...style, colour: COLOURS[code - 30] };
  if (code === 39) return { ...style, colour: "" };
  if (code >= 90 && code <= 97) return { ...style, colour: COLOURS[code - 90] };
  return style;
}
