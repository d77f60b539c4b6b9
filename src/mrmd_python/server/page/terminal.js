// Text as a terminal shows it.

const MAX_CHARACTERS = 200_000, MAX_LINE_LENGTH = 10_000;

/** Returns the nearest of the eight terminal colors, which are readable on dark and on light. */
function nearestColor(red, green, blue) {
  const half = Math.max(red, green, blue) / 2;
  return half ? `c${(red > half) + 2 * (green > half) + 4 * (blue > half)}` : "";
}

function colorOf(codes) {
  if (codes.shift() === 2) return nearestColor(...codes.splice(0, 3));
  const index = codes.shift();
  if (index < 16) return `c${index % 8}`;
  const cube = index - 16;
  return index < 232 ? nearestColor(Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6) : "";
}

/** Shows text that arrives in pieces. Handles `\r`, `\b`, colors and erasing in a line, and drops other escapes. */
class Terminal {
  constructor() {
    this.element = make("pre");
    this.style = {};
    this.incomplete = "";
    this.size = 0;
    this.startLine();
  }

  startLine() {
    this.line = [];
    this.column = 0;
    this.lineElement = this.element.appendChild(make("span"));
  }

  write(text, stream) {
    text = this.incomplete + text;
    this.incomplete = text.match(/\x1b(?:\[[0-?]{0,99}[ -/]*|\][^\x07\x1b]{0,4000}|[ -/]*)$/)?.[0] ?? ""; // an escape that is not complete yet
    text = text.slice(0, text.length - this.incomplete.length);
    if (text.length > MAX_CHARACTERS) {
      this.clear();
      text = text.slice(-MAX_CHARACTERS);
    }
    const piece = /\x1b\[([0-?]*)[ -/]*([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]|[\n\r\b]|[^\x1b\n\r\b]+/g;
    for (const [found, parameters, final] of text.matchAll(piece)) {
      if (found === "\n") this.endLine();
      else if (found === "\r") this.column = 0;
      else if (found === "\b") this.column = Math.max(0, this.column - 1);
      else if (final === "m") this.changeStyle(parameters);
      else if (final === "K") this.erase(parameters);
      else if (found[0] !== "\x1b") this.put(found, stream);
    }
    this.drawLine("");
  }

  put(text, stream) {
    const classes = `${stream === "stderr" ? "err" : ""} ${Object.values(this.style).join(" ")}`.trim();
    for (const character of text) {
      if (this.column >= MAX_LINE_LENGTH) this.endLine();
      this.line[this.column++] = {character, classes};
    }
  }

  erase(parameters) {
    if (parameters === "2") this.line = [];
    else if (parameters !== "1") this.line.length = Math.min(this.line.length, this.column);
  }

  changeStyle(parameters) {
    const codes = parameters.split(";").map(Number);
    while (codes.length) {
      const code = codes.shift();
      if (code === 0) this.style = {};
      else if (code <= 4) this.style[code] = ["b", "f", "i", "u"][code - 1];
      else if (code === 22) this.style[1] = this.style[2] = "";
      else if (code === 23 || code === 24) this.style[code - 20] = "";
      else if (code === 38) this.style.color = colorOf(codes);
      else if (code === 48) colorOf(codes);
      else if (code === 39) this.style.color = "";
      else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) this.style.color = `c${code % 10}`;
    }
  }

  drawLine(end) {
    const runs = [];
    for (const {character, classes} of Array.from(this.line, (cell) => cell ?? {character: " ", classes: ""})) {
      if (runs.at(-1)?.classes === classes) runs.at(-1).text += character;
      else runs.push({classes, text: character});
    }
    const parts = runs.map(({classes, text}) => classes ? make("span", {className: classes}, text) : text);
    this.lineElement.replaceChildren(...parts, end);
  }

  endLine() {
    this.drawLine("\n");
    this.size += this.line.length + 1;
    if (this.size > 2 * MAX_CHARACTERS) this.clear();
    else this.startLine();
  }

  clear() {
    this.element.replaceChildren(make("span", {className: "verdict"}, "[earlier output dropped]\n"));
    this.size = 0;
    this.startLine();
  }
}
