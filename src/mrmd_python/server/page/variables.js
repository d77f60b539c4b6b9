// The table of the session's variables.

const unfolded = new Set(); // paths of open rows, as JSON

function variableRow({name, type, value, size, shape, expandable}, path) {
  const key = JSON.stringify(path);
  const row = make("tr");
  row.dataset.path = key;
  const heading = make("div");
  heading.style.paddingLeft = `${0.9 * (path.length - 1)}rem`;
  if (expandable) {
    const label = `Parts of ${name}`;
    heading.append(make("button", {type: "button", ariaLabel: label, ariaExpanded: "false", onclick: () => attempt(() => inTurn(() => toggle(key)))}, "▸"));
  }
  heading.append(make("span", {}, name));
  const measure = shape ? `(${shape.join(", ")})` : size ?? "";
  const kind = [type, measure].filter(Boolean).join(", ");
  row.append(make("th", {scope: "row"}, heading), make("td", {className: "type"}, kind),
    make("td", {title: value}, make("div", {}, value)));
  return row;
}

async function toggle(key) {
  const row = rowOf(byId("variables"), key);
  if (!row) return; // an update has removed it
  if (unfolded.delete(key)) {
    const start = key.slice(0, -1) + ",";
    while (row.nextSibling?.dataset.path.startsWith(start)) row.nextSibling.remove();
    mark(row, false);
  } else {
    unfolded.add(key);
    await unfold(row);
  }
}

function mark(row, isOpen) {
  const button = row.querySelector("button");
  button.ariaExpanded = String(isOpen);
  button.textContent = isOpen ? "▾" : "▸";
}

async function unfold(row) {
  const whole = JSON.parse(row.dataset.path);
  const [name, ...path] = whole;
  const {children, length} = await post(`/variables/${encodeURIComponent(name)}`, {path, session}, view.signal);
  const rows = children.map((child) => variableRow(child, [...whole, child.path]));
  if (length > children.length) {
    const value = `showing the first ${children.length} of ${length}`;
    rows.push(variableRow({name: "…", type: "", value}, [...whole, {position: children.length}]));
  }
  row.after(...rows);
  mark(row, true);
}

const rowOf = (rows, key) => [...rows.children].find((row) => row.dataset.path === key);

/** Shows the session's variables, keeping rows open and the focus in place. */
async function showVariables() {
  const {variables, truncated} = await post("/variables", {session}, view.signal);
  const fresh = make("tbody", {}, ...variables.map((variable) => variableRow(variable, [variable.name])));
  for (const key of unfolded) { // in the order they were opened: parents before children
    const row = rowOf(fresh, key);
    if (row?.querySelector("button")) await unfold(row).catch(() => {});
  }
  const shown = byId("variables");
  const focused = document.activeElement.closest("#variables tr")?.dataset.path;
  shown.replaceChildren(...fresh.children);
  if (focused) rowOf(shown, focused)?.querySelector("button")?.focus();
  const none = variables.length ? "" : "none yet";
  byId("variables-message").textContent = truncated ? "incomplete: the session is busy or has very many variables" : none;
}
