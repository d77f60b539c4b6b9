"use strict";
// Requests to the runtime, and variables and functions that all parts of the page share.

const API = "/mrp/v1";

const byId = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resume) => setTimeout(resume, ms));
const recall = (key) => JSON.parse(sessionStorage.getItem(key) ?? "null");
const remember = (key, value) => sessionStorage.setItem(key, JSON.stringify(value));

/** Creates an element. Children are added as text, never parsed as HTML. */
function make(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

let session = recall("session") ?? "default";
let view = new AbortController(); // aborted when another session is chosen
let followed = null; // one cell at a time: browsers open six connections to a host, and interrupting needs one
let lastUse = Date.now();
let isLost = false; // whether the last request got no response

async function call(method, path, body, signal) {
  const headers = {};
  const token = recall("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  const response = await fetch(API + path, {method, headers, signal, body: body && JSON.stringify(body)}).catch((error) => {
    isLost ||= error.name !== "AbortError";
    throw isLost ? new Error("The runtime does not answer.") : error;
  });
  if (isLost) showStatus("Connected again.");
  isLost = false;
  if (response.ok) return response;
  const {error} = await response.json().catch(() => ({}));
  if (response.status === 401) askForToken();
  throw Object.assign(new Error(error ?? `the runtime answers ${response.status}`), {status: response.status});
}
const get = async (path, signal) => (await call("GET", path, undefined, signal)).json();
const post = async (path, body, signal) => (await call("POST", path, body, signal)).json();

/** Yields the Server-Sent Events of a response as they arrive. */
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
      if (fields.event) yield {id: Number(fields.id), name: fields.event, data: JSON.parse(fields.data)};
    }
  }
}

function askForToken() {
  if (!byId("access").hidden) return;
  byId("access").hidden = false;
  byId("main").hidden = true;
  byId("token").focus();
}

async function useToken() {
  remember("token", byId("token").value.trim());
  try {
    await get("/capabilities");
  } catch (error) {
    byId("access-message").textContent = error.message;
    byId("token").select();
    return;
  }
  byId("token").value = "";
  byId("access").hidden = true;
  byId("main").hidden = false;
  await begin();
}

const showStatus = (text) => { byId("status").textContent = text; };

/** Runs the action of a button or key, and shows its error. */
async function attempt(action) {
  try {
    await action();
  } catch (error) {
    if (error.name !== "AbortError") showStatus(error.message);
  }
}
