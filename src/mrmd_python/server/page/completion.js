// Completion and history in the code field.

let matches = [], chosen = 0, replaced = [0, 0];
let tabLeaves = false;
let recent = null, recentAt = 0, draft = "";

function closeMatches() {
  byId("matches").hidden = true;
  byId("code").removeAttribute("aria-activedescendant");
}

function choose(index) {
  chosen = (index + matches.length) % matches.length;
  const options = [...byId("matches").children];
  options.forEach((option, at) => { option.ariaSelected = String(at === chosen); });
  options[chosen].scrollIntoView({block: "nearest"});
  byId("code").setAttribute("aria-activedescendant", options[chosen].id);
}

function accept(index) {
  byId("code").setRangeText(matches[index].insertText, ...replaced, "end");
  closeMatches();
}

async function complete() {
  const field = byId("code");
  const code = field.value, cursor = field.selectionStart;
  const found = await post("/complete", {code, cursor, session});
  if (field.value !== code || field.selectionStart !== cursor) return; // the user typed on
  matches = found.matches.slice(0, 100);
  replaced = [found.cursorStart, found.cursorEnd];
  tabLeaves = !matches.length;
  if (!matches.length) return showStatus("No completions; Tab leaves the field.");
  if (matches.length === 1) return accept(0);
  byId("matches").replaceChildren(...matches.map(({label, kind, detail}, at) => {
    const option = make("li", {id: `match-${at}`, role: "option"}, make("span", {}, label),
      make("span", {className: "detail"}, detail && detail !== label ? detail : kind ?? ""));
    option.addEventListener("pointerdown", (event) => { event.preventDefault(); accept(at); });
    return option;
  }));
  byId("matches").hidden = false;
  choose(0);
  showStatus(`${matches.length} completions: arrows choose, Enter takes one, Escape closes.`);
}

/** Puts the previous (-1) or next (1) cell of the history into the field. */
async function recallCell(step) {
  const field = byId("code");
  if (!recent) {
    if (step > 0) return;
    const {entries} = await post("/history", {n: 200, session});
    recent = entries.map(({code}) => code);
    recentAt = recent.length;
  }
  const at = recentAt + step;
  if (at < 0 || at > recent.length) return;
  if (recentAt === recent.length) draft = field.value;
  recentAt = at;
  field.value = at === recent.length ? draft : recent[at];
  const end = step < 0 ? field.value.split("\n")[0].length : field.value.length;
  field.setSelectionRange(end, end);
}

function keepIndentation() {
  const field = byId("code");
  const line = field.value.slice(0, field.selectionStart).split("\n").at(-1);
  const indent = line.match(/^[ \t]*/)[0] + (/:\s*(#.*)?$/.test(line) ? "    " : "");
  field.setRangeText("\n" + indent, field.selectionStart, field.selectionEnd, "end");
}

/** Handles a key of the open completion list; returns whether it was one. */
function chooseByKey(key) {
  if (key === "ArrowDown") choose(chosen + 1);
  else if (key === "ArrowUp") choose(chosen - 1);
  else if (key === "Enter" || key === "Tab") accept(chosen);
  else if (key === "Escape") closeMatches();
  else return false;
  return true;
}

byId("code").addEventListener("keydown", (event) => {
  const {key, shiftKey, ctrlKey, metaKey, altKey, target: field} = event;
  if (event.isComposing || altKey) return;
  const before = field.value.slice(0, field.selectionStart), after = field.value.slice(field.selectionEnd);
  const isPlain = !shiftKey && !ctrlKey && !metaKey, nothingSelected = field.selectionStart === field.selectionEnd;
  if (!byId("matches").hidden && isPlain && chooseByKey(key)) event.preventDefault();
  else if (key === "Enter" && !isPlain) { event.preventDefault(); void attempt(run); }
  else if (key === "Enter") { event.preventDefault(); keepIndentation(); }
  else if (key === "c" && ctrlKey && nothingSelected && followed) { event.preventDefault(); void interrupt(); }
  else if (!isPlain || !nothingSelected) return;
  else if (key === "Escape") { tabLeaves = true; showStatus("Tab leaves the field."); }
  else if (key === "Tab" && !tabLeaves && /[\p{L}\p{N}_.]$/u.test(before)) { event.preventDefault(); void attempt(complete); }
  else if (key === "ArrowUp" && !before.includes("\n")) { event.preventDefault(); void attempt(() => recallCell(-1)); }
  else if (key === "ArrowDown" && !after.includes("\n")) { event.preventDefault(); void attempt(() => recallCell(1)); }
});
byId("code").addEventListener("input", () => { tabLeaves = false; closeMatches(); });
byId("code").addEventListener("blur", closeMatches);
