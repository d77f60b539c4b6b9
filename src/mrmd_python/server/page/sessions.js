// The list of sessions.

let activity = "";
let lastChange = Promise.resolve();

/** Runs an action that changes the lists, after the actions before it. */
function inTurn(action) {
  lastChange = lastChange.catch(() => {}).then(action);
  return lastChange;
}

/** Updates sessions and variables. */
const refresh = () => inTurn(showSessions);

async function showSessions() {
  const {sessions} = await get("/sessions", view.signal);
  const current = sessions.find(({id}) => id === session);
  if (!current && session !== "default") return void chooseSession("default");
  const list = byId("sessions");
  const shown = new Map([...list.children].map((item) => [item.dataset.id, item]));
  for (const {id, state, queued, variableCount} of sessions) {
    const item = shown.get(id) ?? list.appendChild(sessionItem(id));
    shown.delete(id);
    item.firstChild.ariaCurrent = String(id === session);
    const text = `${state}${queued ? `, ${queued} queued` : ""}, ${variableCount} ${variableCount === 1 ? "variable" : "variables"}`;
    if (item.lastChild.textContent !== text) item.lastChild.textContent = text;
  }
  shown.forEach((item) => item.remove());
  const now = `${session} ${current?.state} ${current?.executionCount} ${current?.variableCount} ${current?.pid}`;
  if (now !== activity) await showVariables();
  activity = now;
}

function sessionItem(id) {
  const item = make("li", {}, make("button", {type: "button", onclick: () => chooseSession(id)}, id), make("span"));
  item.dataset.id = id;
  return item;
}

async function chooseSession(id) {
  session = id;
  remember("session", id);
  view.abort();
  view = new AbortController();
  followed = recent = between = null;
  unfolded.clear();
  stopWatching();
  shownDisplays = new Map();
  cells = new Map();
  turn = Promise.resolve();
  byId("log").replaceChildren();
  showStatus(`Session ${id}.`);
  await attempt(() => Promise.all([restore(), refresh()]));
}

byId("new").addEventListener("click", () => attempt(async () => {
  const id = byId("new-name").value.trim();
  showStatus("Starting the session…");
  const made = await post("/sessions", id ? {id} : {});
  byId("new-name").value = "";
  await chooseSession(made.id);
}));
byId("new-name").addEventListener("keydown", ({key}) => { if (key === "Enter") byId("new").click(); });
byId("reset").addEventListener("click", () => attempt(async () => {
  if (!confirm(`Reset session ${session}? Its variables will be lost.`)) return;
  await post("/reset", {session});
  showStatus(`Session ${session} was reset.`);
  await refresh();
}));
byId("delete").addEventListener("click", () => attempt(async () => {
  if (!confirm(`Delete session ${session} and end every process it started?`)) return;
  await call("DELETE", `/sessions/${encodeURIComponent(session)}`);
  sessionStorage.removeItem(cellsKey());
  await chooseSession("default");
}));
