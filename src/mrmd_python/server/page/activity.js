// What any client runs in the session, and what is written while nothing runs.

const FROM_NOW = "99999999999999999999"; // past every event

let listed = Promise.resolve(); // settles when the earlier cells are in the log
let watcher = null; // aborted when the page is not in use: each open stream takes one of the browser's connections
let between = null; // the output since the last cell

/** Shows the cells of the session, and those that come. */
async function restore() {
  const {signal} = view;
  listed = showExecutions(signal);
  await listed;
  if (!signal.aborted) watch();
}

function watch() {
  if (watcher) return;
  watcher = new AbortController();
  void watchSession(AbortSignal.any([watcher.signal, view.signal]));
}

function stopWatching() {
  watcher?.abort();
  watcher = null;
}

async function watchSession(signal) {
  for (let wait = 500; !signal.aborted; wait = Math.min(2 * wait, 8000)) {
    try {
      const path = `/sessions/${encodeURIComponent(session)}/events?after=${FROM_NOW}`;
      const events = eventsOf(await call("GET", path, undefined, signal));
      await showExecutions(signal); // those since the last time
      for await (const event of events) {
        if (!signal.aborted) showActivity(event);
        wait = 500;
      }
    } catch {
      if (signal.aborted) return; // else the runtime is gone, and `poll` says so
    }
    await pause(wait);
  }
}

function showActivity({name, data}) {
  if (name === "queued") void showExecution(data);
  else if (name === "ended") void attempt(refresh);
  else if (name !== "started") showBetween(name, data);
}

function showBetween(name, data) {
  if (!between || byId("log").lastChild !== between.element.parentNode) {
    between = new Output();
    appendToLog(make("article", {}, make("p", {className: "client"}, "while nothing ran"), between.element));
  }
  if (name === "display") between.display(data);
  else between.write(data.content, name);
}

/** Shows the executions that are kept; returns when those that have ended are complete. */
async function showExecutions(signal) {
  const {executions} = await get(`/executions?session=${encodeURIComponent(session)}`, signal);
  const isLive = ({state}) => state === "running" || state === "queued";
  const ended = executions.filter((execution) => !isLive(execution)).map(showExecution);
  executions.filter(isLive).forEach(showExecution);
  await Promise.all(ended);
}

/** Adds the cell of an execution to the log, if it is not there yet; returns when it has ended. */
function showExecution(execution) {
  if (cells.has(execution.execId)) return null;
  const cell = new Cell(execution);
  return inOrder(() => cell.restore());
}
