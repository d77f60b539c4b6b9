// Cells: code that runs or has run, with its output.

const MAX_CELLS = 50, MAX_BLOCKS = 200;

const cellsKey = () => `cells ${session}`;

/** A cell, in the log. */
class Cell {
  constructor({execId, code, answered}) {
    this.execId = execId;
    this.code = code;
    this.answered = answered ?? 0; // id of the last input request that was answered
    this.last = 0; // id of the last event seen
    this.output = make("div", {className: "output"});
    this.verdict = make("p", {className: "verdict"}, "waiting");
    const source = make("pre", {className: "source"}, code ?? "(run by another client)");
    this.element = make("article", {}, source, this.output, this.verdict);
    byId("log").append(this.element);
    if (byId("log").children.length > MAX_CELLS) byId("log").firstChild.remove();
    this.remember();
  }

  remember() {
    const others = (recall(cellsKey()) ?? []).filter((cell) => cell.execId !== this.execId);
    const {execId, code, answered} = this;
    remember(cellsKey(), [...others, {execId, code, answered}].slice(-MAX_CELLS));
  }

  /** Runs the code. Sending it again with the same execId does not run it twice. */
  async run() {
    const {signal} = view;
    const body = {code: this.code, session, execId: this.execId, accumulated: false, rich: true};
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
    const log = byId("log");
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    if (name === "start") this.begin();
    else if (name === "stdout" || name === "stderr") this.terminal().write(data.content, name);
    else if (name === "clear_output") this.clear(data.wait);
    else if (name === "asset") this.show(data);
    else if (name === "stdin_request") this.ask(id, data);
    else if (name === "result") this.end(`In [${data.executionCount}] took ${(data.duration / 1000).toFixed(2)} s`);
    else if (name === "error") this.end(`${data.type}: ${data.message}`, true);
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  begin() {
    this.setState("running");
    void attempt(refresh);
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

  /** Removes the output; with `wait`, only when there is new output. */
  clear(wait) {
    this.clearPending = wait;
    if (wait) return;
    this.text = null;
    this.output.replaceChildren();
  }

  terminal() {
    if (this.clearPending) this.clear(false);
    if (!this.text) {
      this.text = new Terminal();
      this.append(this.text.element);
    }
    return this.text;
  }

  append(block) {
    this.output.append(block);
    if (this.output.children.length > MAX_BLOCKS) this.output.firstChild.remove();
  }

  show(asset) {
    const {url, path, assetType, mimeType, update} = asset;
    const shown = shownAssets.get(url);
    if (update && shown?.element.isConnected) return void shown.show?.(asset);
    if (this.clearPending) this.clear(false);
    this.text = null;
    const name = path.split("/").at(-1);
    const view = assetType === "image" || assetType === "svg" ? new ImageView(`${name} (${mimeType})`) : {
      element: recall("token") ? make("span", {}, `${mimeType}, in the file ${path}`) // a link cannot send the token
        : make("a", {href: url, target: "_blank", rel: "noopener noreferrer", title: path}, `Open ${name} (${mimeType})`),
    };
    shownAssets.set(url, view);
    this.append(view.element);
    void view.show?.(asset);
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

let shownAssets = new Map(); // by URL, which stays the same in an update

/** An image. It is fetched by script, because <img> cannot send the token. */
class ImageView {
  constructor(alt) {
    this.element = make("img", {alt});
  }

  /** Shows an asset. Updates that arrive during a fetch are skipped, except the last. */
  async show(asset) {
    this.asset = asset;
    if (this.isFetching) return;
    this.isFetching = true;
    try {
      for (let shown; shown !== this.asset;) {
        shown = this.asset;
        const response = await call("GET", shown.url.replace(API, ""));
        this.element.src = await dataUrl(await response.blob());
        for (const side of ["width", "height"]) {
          if (shown.metadata[side] > 0) this.element[side] = shown.metadata[side];
          else this.element.removeAttribute(side);
        }
      }
    } catch (error) {
      this.element.replaceWith(make("span", {className: "failed"}, `${this.element.alt}: ${error.message}`));
    }
    this.isFetching = false;
  }
}

function dataUrl(blob) {
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(blob);
  });
}

async function run() {
  await listed.catch(() => {});
  const code = byId("code").value;
  if (!code.trim()) return showStatus("Nothing to run.");
  if (followed) return showStatus("A cell is running. Wait for it or interrupt it.");
  const cell = new Cell({execId: `page-${crypto.getRandomValues(new Uint32Array(3)).join("-")}`, code});
  byId("code").value = "";
  closeMatches();
  recent = null;
  byId("log").scrollTop = byId("log").scrollHeight;
  await cell.run();
  return refresh();
}

let listed = Promise.resolve(); // settles when the earlier cells are in the log

/** Shows the cells that this tab has run in the session, and those that run now. */
async function restore() {
  const {signal} = view;
  listed = replay(signal);
  const live = await listed;
  void attempt(async () => {
    for (const cell of live) {
      if (!signal.aborted) await cell.restore();
    }
    if (!signal.aborted) await refresh();
  });
}

/** Shows the cells that have ended; returns those that have not. */
async function replay(signal) {
  const {executions} = await get(`/executions?session=${encodeURIComponent(session)}`, signal);
  const own = new Map((recall(cellsKey()) ?? []).map((cell) => [cell.execId, cell]));
  const live = [];
  for (const {execId, state} of executions) {
    const isLive = state === "running" || state === "queued";
    if (signal.aborted || !(isLive || own.has(execId))) continue;
    const cell = new Cell(own.get(execId) ?? {execId});
    if (isLive) live.push(cell);
    else await cell.restore();
  }
  return live;
}

const interrupt = () => attempt(async () => {
  const {error} = await post("/interrupt", {session});
  showStatus(error ?? "Interrupted.");
});
