// An MRP client in plain JavaScript: node client.mjs BASE_URL SESSION. Prints its results as one JSON object.

const [base, session] = process.argv.slice(2);

async function post(path, body) {
  const answer = await fetch(base + path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ session, ...body }),
  });
  return answer.json();
}

async function* events(answer) {
  // Decodes each chunk on its own, as simple clients do: the server must never split a character.
  let buffer = "";
  let id, name;
  for await (const chunk of answer.body) {
    buffer += new TextDecoder("utf-8", { fatal: true }).decode(chunk);
    const lines = buffer.split("\n");
    buffer = lines.pop();
    for (const line of lines) {
      if (line.startsWith("id: ")) id = line.slice(4);
      else if (line.startsWith("event: ")) name = line.slice(7);
      else if (line.startsWith("data: ")) yield { id, name, data: JSON.parse(line.slice(6)) };
    }
  }
}

function stream(body, signal) {
  return fetch(`${base}/execute/stream`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify({ session, ...body }),
    signal,
  });
}

async function all(answer, onEvent = async () => {}) {
  const seen = [];
  for await (const event of events(answer)) {
    seen.push(event);
    await onEvent(event);
  }
  return seen;
}

const textOf = (seen, name) => seen.filter((event) => event.name === name).map((event) => event.data.content).join("");
const found = {};

const printed = await all(await stream({ code: "print('é€😀' * 1000)" }));
found.text = textOf(printed, "stdout");
found.accumulated = printed.filter((event) => event.name === "stdout").at(-1).data.accumulated;

const execId = `${session}-node-input`;
const talk = await all(await stream({ code: "print(input('Name? ')[::-1])", execId }), async (event) => {
  if (event.name === "stdin_request") found.accepted = await post("/input", { exec_id: execId, text: "Ada\n" });
});
found.talk = textOf(talk, "stdout");

const endless = await all(await stream({ code: "print('up')\nwhile True: pass" }), async (event) => {
  if (event.name === "stdout" && event.data.content.startsWith("up")) found.interrupted = await post("/interrupt", {});
});
found.interruption = endless.find((event) => event.name === "error").data.type;

const leaving = new AbortController();
const left = [];
const id = `${session}-node-back`;
const code = "import time\nfor n in range(30): print('é', n); time.sleep(0.01)";
try {
  for await (const event of events(await stream({ code, execId: id }, leaving.signal))) {
    left.push(event);
    if (event.name === "stdout") leaving.abort();
  }
} catch (error) {
  if (error.name !== "AbortError") throw error;
}
const back = await fetch(`${base}/executions/${encodeURIComponent(id)}/stream`, {
  headers: { "Last-Event-ID": left.at(-1).id },
});
const rest = await all(back);
found.reattached = textOf(left, "stdout") + textOf(rest, "stdout");
found.end = rest.at(-1).name;

const line = "'😀'; prin";
const completed = await post("/complete", { code: line, cursor: line.length });
const match = (completed.matches ?? []).find((one) => one.label === "print");
found.completed = match && line.slice(0, completed.cursorStart) + match.insertText + line.slice(completed.cursorEnd);

console.log(JSON.stringify(found));
