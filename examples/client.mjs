// A client that needs only Node 18 or newer: node client.mjs http://localhost:8765/mrp/v1 'print(input("Name? "))'

import { createInterface } from "node:readline";

const [url, code] = process.argv.slice(2);

function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  return fetch(url + path, { method: "POST", headers, body: JSON.stringify(body) });
}

async function* events(response) {
  let name;
  let rest = "";
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("event: ")) name = line.slice(7);
      if (line.startsWith("data: ")) yield [name, JSON.parse(line.slice(6))];
    }
  }
}

const input = createInterface({ input: process.stdin });
const typed = input[Symbol.asyncIterator]();
for await (const [name, data] of events(await post("/execute/stream", { code, accumulated: false }))) {
  if (name === "stdout" || name === "stderr") process[name].write(data.content);
  else if (name === "stdin_request") {
    await post("/input", { execId: data.execId, text: (await typed.next()).value }); // the prompt is in stdout
  }
}
input.close();
