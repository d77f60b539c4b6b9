// Starts the page.

const POLL_MS = 3000;
const UNUSED_MS = 10 * 60 * 1000; // an open tab that is not used must not keep an idle runtime running

const begin = () => Promise.all([restore(), refresh(), showFacts()]);

async function showFacts() {
  const {version, pythonVersion, environment} = await get("/capabilities");
  const facts = {Python: pythonVersion, at: environment.executable, in: environment.cwd, "mrmd-python": version};
  byId("about").replaceChildren(...Object.entries(facts).map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, value ?? "unknown"))));
}

async function poll() {
  for (;;) {
    await pause(POLL_MS);
    const isUsed = followed || Date.now() - lastUse < UNUSED_MS;
    if (document.visibilityState !== "visible" || !isUsed) stopWatching();
    else if (byId("access").hidden) {
      watch();
      await attempt(refresh);
    }
  }
}

for (const name of ["keydown", "pointerdown", "focus", "visibilitychange"]) addEventListener(name, () => { lastUse = Date.now(); });
byId("run").addEventListener("click", () => attempt(run));
byId("log").addEventListener("scroll", noteScroll);
byId("interrupt").addEventListener("click", interrupt);
byId("use-token").addEventListener("click", useToken);
byId("token").addEventListener("keydown", ({key}) => { if (key === "Enter") void useToken(); });
byId("code").focus();
void attempt(begin);
void poll();
