// Cells: code that runs or has run, with its output.

const MAX_CELLS = 50;

const cellsKey = () => `cells ${session}`;

let cells = new Map(); // those in the log, by execId
let turn = Promise.resolve(); // settles when the cells before have ended: the page follows one at a time

let atEnd = true; // whether the end of the log is visible, and stays so as the log grows

/** Images and frames get their size after they are added. */
const growth = new ResizeObserver(() => { if (atEnd) scrollToEnd(); });

function scrollToEnd() {
  byId("log").scrollTop = byId("log").scrollHeight;
}

function noteScroll() {
  const log = byId("log");
  atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
}

function appendToLog(element) {
  const log = byId("log");
  log.append(element);
  growth.observe(element);
  if (log.children.length > MAX_CELLS) log.firstChild.remove();
}

/** A cell, in the log. */
class Cell {
  constructor({execId, code, client, rich}) {
    const own = (recall(cellsKey()) ?? []).find((cell) => cell.execId === execId);
    this.execId = execId;
    this.code = code;
    this.rich = rich;
    this.isOwn = own !== undefined;
    this.answered = own?.answered ?? 0; // id of the last input request that was answered
    this.last = 0; // id of the last event seen
    this.output = new Output();
    this.verdict = make("p", {className: "verdict"}, "waiting");
    this.element = make("article", {}, make("pre", {className: "source"}, code), this.output.element, this.verdict);
    if (!this.isOwn) this.element.prepend(make("p", {className: "client"}, client ?? "another client"));
    appendToLog(this.element);
    cells.set(execId, this);
  }

  /** Remembers, in this tab, that this page has run the cell, and which of its input requests were answered. */
  remember() {
    if (!this.isOwn) return;
    const others = (recall(cellsKey()) ?? []).filter((cell) => cell.execId !== this.execId);
    remember(cellsKey(), [...others, {execId: this.execId, answered: this.answered}].slice(-MAX_CELLS));
  }

  /** Runs the code. Sending it again with the same execId does not run it twice. */
  async run() {
    const {signal} = view;
    const body = {code: this.code, session, execId: this.execId, accumulated: false, rich: true, client: "page"};
    await this.follow(signal, () => call("POST", "/execute/stream", body, signal));
  }

  /** Shows an execution that exists, from its beginning. */
  async restore() {
    const {signal} = view;
    await this.follow(signal, () => this.reattach(signal));
  }

  reattach(signal) {
    const path = `/executions/${encodeURIComponent(this.execId)}/stream?accumulated=false&after=`;
    return call("GET", path + this.last, undefined, signal);
  }

  /** Shows all events, reconnecting when the connection is lost. */
  async follow(signal, open) {
    followed = this;
    for (let wait = 500; !this.ended && !signal.aborted; wait = Math.min(2 * wait, 8000)) {
      try {
        for await (const event of eventsOf(await open())) {
          if (signal.aborted) return;
          this.handle(event);
        }
      } catch (error) {
        if (signal.aborted) return;
        if (error.status) this.end(error.message, true);
        else this.setState("Connection lost, reconnecting…");
      }
      if (this.last) open = () => this.reattach(signal);
      if (!this.ended) await pause(wait);
    }
    if (followed === this) followed = null;
  }

  handle({id, name, data}) {
    this.last = id;
    if (name === "start") this.begin();
    else if (name === "stdout" || name === "stderr") this.output.write(data.content, name);
    else if (name === "stdin") this.output.write(data.content, "stdout");
    else if (name === "clear_output") this.output.clear(data.wait);
    else if (name === "asset") this.output.asset(data);
    else if (name === "display" && this.rich) this.output.display(data); // else it is in the text
    else if (name === "stdin_request") this.ask(id, data);
    else if (name === "result") this.succeed(data);
    else if (name === "error") this.fail(data);
  }

  begin() {
    this.setState("running");
    void attempt(refresh);
  }

  succeed({data, metadata, executionCount, duration}) {
    if (data) this.output.display({data, metadata});
    this.end(`In [${executionCount}] took ${(duration / 1000).toFixed(2)} s`);
  }

  fail({type, message, ansiTraceback}) {
    if (ansiTraceback?.length) this.output.write(`${ansiTraceback.join("\n")}\n`, "stdout");
    this.end(`${type}: ${message}`, true);
  }

  setState(text) {
    this.verdict.textContent = text;
    showStatus(text[0].toUpperCase() + text.slice(1));
  }

  end(text, failed = false) {
    this.ended = true;
    if (followed === this) followed = null; // so that the next cell can run before the stream ends
    this.question = this.question?.remove();
    this.verdict.classList.toggle("failed", failed);
    this.setState(text);
  }

  ask(id, {prompt, password}) {
    if (id <= this.answered) return;
    const type = password ? "password" : "text";
    const field = make("input", {type, ariaLabel: prompt || "Input", autocomplete: "off", spellcheck: false});
    const settle = (path, body) => attempt(async () => {
      const response = await post(path, {execId: this.execId, ...body});
      this.answered = id;
      this.remember();
      if (this.question !== question) return; // answered elsewhere, or the cell has ended
      const hadFocus = question.contains(document.activeElement);
      this.question = question.remove();
      if (hadFocus) byId("code").focus();
      if (response.error) showStatus(response.error);
      else this.setState("running");
    });
    const send = () => settle("/input", {text: field.value});
    field.addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.isComposing) send(); });
    const question = make("div", {className: "row"}, field,
      make("button", {type: "button", onclick: send}, "Send"),
      make("button", {type: "button", onclick: () => settle("/input/cancel", {})}, "Cancel"));
    this.question?.remove();
    this.question = question;
    this.element.insertBefore(question, this.verdict);
    this.setState(`waiting for input: ${prompt}`);
    question.scrollIntoView({block: "nearest"});
    const focused = document.activeElement;
    if (focused === document.body || (focused === byId("code") && !focused.value)) field.focus();
  }
}

async function run() {
  await listed.catch(() => {});
  const code = byId("code").value;
  if (!code.trim()) return showStatus("Nothing to run.");
  if (followed) return showStatus("A cell is running. Wait for it or interrupt it.");
  const execId = `page-${crypto.getRandomValues(new Uint32Array(3)).join("-")}`;
  remember(cellsKey(), [...recall(cellsKey()) ?? [], {execId}].slice(-MAX_CELLS));
  const cell = new Cell({execId, code, rich: true});
  byId("code").value = "";
  closeMatches();
  recent = null;
  scrollToEnd();
  await inOrder(() => cell.run());
  return refresh();
}

/** Calls a function that follows a cell, after the cells before it. */
function inOrder(follow) {
  const {signal} = view;
  turn = turn.then(() => signal.aborted || attempt(follow));
  return turn;
}

const interrupt = () => attempt(async () => {
  const {error} = await post("/interrupt", {session});
  showStatus(error ?? "Interrupted.");
});
