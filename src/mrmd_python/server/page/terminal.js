// Text as a terminal shows it.

const MOST_CHARACTERS = 200_000, LONGEST_LINE = 10_000;

/** Returns the nearest of the eight terminal colours, which are readable on dark and on light. */
function nearestColour(red, green, blue) {
  const half = Math.max(red, green, blue) / 2;
  return half ? `c${(red > half) + 2 * (green > half) + 4 * (blue > half)}` : "";
}

function colourOf(codes) {
  if (codes.shift() === 2) return nearestColour(...codes.splice(0, 3));
  const index = codes.shift();
  if (index < 16) return `c${index % 8}`;
  const cube = index - 16;
  return index < 232 ? nearestColour(Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6) : "";
}

/** Shows text that arrives in pieces. Handles `\r`, `\b`, colours and erasing in a line, and drops other escapes. */
class Terminal {
  constructor() {
    this.element = make("pre");
    this.look = {};
    this.cut = "";
    this.size = 0;
    this.startLine();
  }

  startLine() {
    this.line = [];
    this.column = 0;
    this.lineElement = this.element.appendChild(make("span"));
  }

  write(text, stream) {
    text = this.cut + text;
    this.cut = text.match(/\x1b(?:\[[0-?]{0,99}[ -/]*|\][^\x07\x1b]{0,4000}|[ -/]*)$/)?.[0] ?? ""; // an escape that is not complete yet
    text = text.slice(0, text.length - this.cut.length);
    if (text.length > MOST_CHARACTERS) {
      this.clear();
      text = text.slice(-MOST_CHARACTERS);
    }
    const piece = /\x1b\[([0-?]*)[ -/]*([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]|[\n\r\b]|[^\x1b\n\r\b]+/g;
    for (const [found, parameters, final] of text.matchAll(piece)) {
      if (found === "\n") this.endLine();
      else if (found === "\r") this.column = 0;
      else if (found === "\b") this.column = Math.max(0, this.column - 1);
      else if (final === "m") this.changeLook(parameters);
      else if (final === "K") this.erase(parameters);
      else if (found[0] !== "\x1b") this.put(found, stream);
    }
    this.drawLine("");
  }

  put(text, stream) {
    const looks = `${stream === "stderr" ? "err" : ""} ${Object.values(this.look).join(" ")}`.trim();
    for (const character of text) {
      if (this.column >= LONGEST_LINE) this.endLine();
      this.line[this.column++] = {character, looks};
    }
  }

  erase(parameters) {
    if (parameters === "2") this.line = [];
    else if (parameters !== "1") this.line.length = Math.min(this.line.length, this.column);
  }

  changeLook(parameters) {
    const codes = parameters.split(";").map(Number);
    while (codes.length) {
      const code = codes.shift();
      if (code === 0) this.look = {};
      else if (code <= 4) this.look[code] = ["b", "f", "i", "u"][code - 1];
      else if (code === 22) this.look[1] = this.look[2] = "";
      else if (code === 23 || code === 24) this.look[code - 20] = "";
      else if (code === 38) this.look.colour = colourOf(codes);
      else if (code === 48) colourOf(codes);
      else if (code === 39) this.look.colour = "";
      else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) this.look.colour = `c${code % 10}`;
    }
  }

  drawLine(end) {
    const runs = [];
    for (const {character, looks} of Array.from(this.line, (cell) => cell ?? {character: " ", looks: ""})) {
      if (runs.at(-1)?.looks === looks) runs.at(-1).text += character;
      else runs.push({looks, text: character});
    }
    const parts = runs.map(({looks, text}) => looks ? make("span", {className: looks}, text) : text);
    this.lineElement.replaceChildren(...parts, end);
  }

  endLine() {
    this.drawLine("\n");
    this.size += this.line.length + 1;
    if (this.size > 2 * MOST_CHARACTERS) this.clear();
    else this.startLine();
  }

  clear() {
    this.element.replaceChildren(make("span", {className: "verdict"}, "[earlier output dropped]\n"));
    this.size = 0;
    this.startLine();
  }
}
