"""A stand-in for launchd, as far as agents need one: starts, stops and restarts their processes.

    python daemon.py SOCKET DOMAIN_ENVIRONMENT_AS_JSON

The program launchctl, beside the socket, sends it requests. It behaves as launchctl(1) documents, or as users of
macOS 10.15 to 26 have reported. Where releases differ it does what is harder for its callers, and where launchd is
lenient it is strict. It exits at SIGTERM, with status 1 if an agent is still loaded then.

Tests set what launchd does with ``launchctl stand-in NAME VALUE``:
    refuse STATUS    the domain takes no agents: bootstrap answers this
    ignore COUNT     so many kickstarts fail, and agents do not start when they are loaded
    confuse COUNT    so many prints of a service answer 5
    throttle SECONDS the pause between two starts of an agent, instead of its ThrottleInterval
"""

import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.launchd.agent import Agent, RefusedError

_EX_CONFIG = 78  # the exit code that launchd records for a program that it cannot spawn
_DOMAIN = f"gui/{os.getuid()}"
_MESSAGES = {
    5: "Input/output error",
    37: "Operation already in progress",
    125: "Domain does not support specified action",
}


@dataclass(frozen=True)
class Answer:
    """The output and the exit status of launchctl."""

    status: int = 0
    out: str = ""
    err: str = ""


def _no_such_service(label: str) -> Answer:
    return Answer(113, err=f'Bad request.\nCould not find service "{label}" in domain for user gui: {os.getuid()}\n')


@dataclass
class Job:
    """A loaded agent."""

    agent: Agent
    # The environment of the domain.
    environment: dict[str, str]
    # All its processes are in it, and no others: see tests/macos/libproc.c.
    coalition: int = field(default_factory=lambda: random.randrange(1000, 800_000))
    process: asyncio.subprocess.Process | None = None
    stopping: bool = False
    runs: int = 0
    end: str = "last exit code = (never exited)"
    # Instead of the agent's ThrottleInterval.
    throttle: float | None = None
    # The pending restart, if any.
    restart: asyncio.TimerHandle | None = None
    task: asyncio.Task[None] | None = None
    started: float = field(default=-1e9)

    def start(self) -> None:
        """Start the job now, unless it is running."""
        if self.restart is not None:
            self.restart.cancel()
        self.restart = None
        if self.process is None and (self.task is None or self.task.done()):
            self.runs += 1
            self.started = time.monotonic()
            self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        keys = self.agent.keys
        code: int | None = _EX_CONFIG
        name: str | None = None
        try:
            self.process = await self._spawn()
        except OSError:
            pass
        else:
            status = await self.process.wait()
            # launchd-842, core.c, job_reap(): the rest of the process group gets SIGTERM, however the job exited.
            if not keys.get("AbandonProcessGroup", False):
                try:
                    os.killpg(self.process.pid, signal.SIGTERM)
                except ProcessLookupError:
                    pass
            self.process = None
            code, name = (status, None) if status >= 0 else (None, signal.Signals(-status).name)
        self.end = (
            f"last exit code = {code}"
            if name is None
            else f"last terminating signal = {signal.strsignal(-status)}: {-status}"
        )
        if self.agent.restarts_after(code, name) and not self.stopping:
            throttle = keys.get("ThrottleInterval", 10) if self.throttle is None else self.throttle
            pause = max(0.0, self.started + throttle - time.monotonic())
            self.restart = asyncio.get_running_loop().call_later(pause, self.start)

    async def _spawn(self) -> asyncio.subprocess.Process:
        keys = self.agent.keys
        output = [
            os.open(keys.get(key, os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            for key in ("StandardOutPath", "StandardErrorPath")
        ]
        launchd_env = {"XPC_SERVICE_NAME": self.agent.label, "XPC_FLAGS": "0x0"}
        try:
            return await asyncio.create_subprocess_exec(
                *keys["ProgramArguments"],
                env={**self.environment, **keys.get("EnvironmentVariables", {}), **launchd_env},
                cwd=keys.get("WorkingDirectory", "/"),
                stdin=subprocess.DEVNULL,
                stdout=output[0],
                stderr=output[1],
                start_new_session=True,
                preexec_fn=self._set_limits,
                umask=keys.get("Umask", 0o22),
            )
        finally:
            for descriptor in output:
                os.close(descriptor)

    def _set_limits(self) -> None:
        os.setpriority(os.PRIO_PROCESS, 0, self.agent.keys.get("Nice", 0))
        resource.setrlimit(resource.RLIMIT_MSGQUEUE, (self.coalition, self.coalition))
        soft = self.agent.keys.get("SoftResourceLimits", {}).get("NumberOfFiles", 256)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    async def stop(self) -> None:
        """Stop the job: SIGTERM, then SIGKILL after ExitTimeOut."""
        self.stopping = True
        if self.restart is not None:
            self.restart.cancel()
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
        if self.task is not None:
            done, _ = await asyncio.wait({self.task}, timeout=self.agent.keys.get("ExitTimeOut", 5))
            if not done and self.process is not None:
                self.process.kill()
            await self.task

    def state(self) -> str:
        """Return the state that ``launchctl print`` shows."""
        if self.process is not None:
            return "SIGTERMed" if self.stopping else "running"
        is_spawning = self.task is not None and not self.task.done()
        return "spawn scheduled" if is_spawning or self.restart is not None else "not running"

    def report(self) -> str:
        """Return the output of ``launchctl print``: values as they are, and the state of other things, too."""
        keys = self.agent.keys

        def block(name: str, lines: "list[str]") -> str:
            return f"{name} = {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"

        def variables(of: "dict[str, str]") -> "list[str]":
            return [f"{name} => {value}" for name, value in of.items()]

        fields = [f"active count = {int(self.process is not None)}", f"path = {self.agent.path}", "type = LaunchAgent"]
        fields += [f"state = {self.state()}", "", f"program = {keys['ProgramArguments'][0]}"]
        fields += [block("arguments", keys["ProgramArguments"]), f"stdout path = {keys.get('StandardOutPath')}"]
        fields += [block("inherited environment", variables(self.environment)), block("default environment", [])]
        fields += [block("environment", variables(keys.get("EnvironmentVariables", {})))]
        fields += [f"domain = {_DOMAIN} [100016]", "asid = 100016", f"runs = {self.runs}"]
        fields += [f"pid = {self.process.pid}"] if self.process is not None else []
        fields += ["immediate reason = semaphore", self.end]
        fields += [block("semaphores", ["successful exit => 0", "after crash => 1"])]
        for kind in ("resource", "jetsam"):
            lines = [f"ID = {self.coalition}", f"type = {kind}", "state = active", "active count = 1"]
            fields += [block(f"{kind} coalition", [*lines, f"name = {self.agent.label}"])]
        fields += ["spawn type = interactive (4)", f"job state = {self.state()}", "properties = runatload"]
        return f"{_DOMAIN}/{self.agent.label} = {{\n" + "".join(f"\t{line}\n" for line in fields) + "}\n"


class Launchd:
    """The user's GUI domain."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self.jobs: dict[str, Job] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._disabled: set[str] = set()
        # What bootstrap will answer for a label that was booted out.
        self._unsettled: dict[str, list[int]] = {}
        self._settings: dict[str, float] = {}

    def answer(self, arguments: list[str]) -> Answer:
        """Carry out a launchctl command."""
        match arguments:
            case ["stand-in", name, value]:
                self._settings[name] = float(value)
                return Answer()
            case ["managername"]:
                return Answer(out="Aqua\n")
            case ["print", target] if target == _DOMAIN:
                return Answer(out=f"{_DOMAIN} = {{\n\ttype = login\n}}\n")
            case ["bootstrap", target, path] if target == _DOMAIN:
                return self._bootstrap(Path(path))
            case [("enable" | "disable") as verb, target] if target.startswith(f"{_DOMAIN}/"):
                label = target.removeprefix(f"{_DOMAIN}/")
                (self._disabled.discard if verb == "enable" else self._disabled.add)(label)
                return Answer()
            case [("print" | "bootout" | "kickstart") as verb, target] if target.startswith(f"{_DOMAIN}/"):
                label = target.removeprefix(f"{_DOMAIN}/")
                if verb == "print" and self._happens("confuse"):
                    return Answer(5, err="Input/output error\n")
                job = self.jobs.get(label)
                if job is None:
                    # https://github.com/nix-community/home-manager/issues/9585
                    missing = Answer(3, err="Boot-out failed: 3: No such process\n")
                    return missing if verb == "bootout" else _no_such_service(label)
                return {"print": self._print, "bootout": self._boot_out, "kickstart": self._kickstart}[verb](job)
        return Answer(64, err=f"Unrecognized target specifier or usage: launchctl {' '.join(arguments)}\n")

    def _happens(self, name: str) -> bool:
        """Return whether one of a number of events that a test has asked for happens now."""
        self._settings[name] = self._settings.get(name, 0) - 1
        return self._settings[name] >= 0

    def _bootstrap(self, path: Path) -> Answer:
        if "refuse" in self._settings:
            # https://github.com/NousResearch/hermes-agent/issues/23387: 5, or 125 as in
            # https://github.com/nix-community/home-manager/issues/4413
            status = int(self._settings["refuse"])
            return Answer(status, err=f"Bootstrap failed: {status}: {_MESSAGES[status]}\n")
        try:
            agent = Agent.read(path)
        except (RefusedError, OSError, ValueError, KeyError) as error:
            return Answer(5, err=f"Bootstrap failed: 5: Input/output error: {error}\n")
        if agent.label in self._disabled:
            # https://github.com/DeterminateSystems/nix-installer/issues/530
            return Answer(119, err=f"{path}: Service is disabled\nBootstrap failed: 119: Service is disabled\n")
        loaded = self.jobs.get(agent.label)
        if loaded is not None:
            # The status depends on the release: https://github.com/openclaw/openclaw/pull/71413 has 37,
            # https://github.com/atomantic/PortOS/pull/1658 has 5.
            if loaded.stopping:
                return Answer(37, err="Bootstrap failed: 37: Operation already in progress\n")
            return Answer(5, err="Bootstrap failed: 5: Input/output error\nTry re-running the command as root.\n")
        was_booted_out = agent.label in self._unsettled
        if self._unsettled.get(agent.label):
            # Also after print says that it is gone: https://github.com/tomcounsell/ai/issues/2104
            status = self._unsettled[agent.label].pop()
            return Answer(status, err=f"Bootstrap failed: {status}: {_MESSAGES[status]}\n")
        self.jobs[agent.label] = job = Job(agent, self._environment, throttle=self._settings.get("throttle"))
        # After a bootout it may stay loaded, not started, until kickstart:
        # https://github.com/openbase-community/openbase/pull/15.
        if agent.runs_at_load() and not was_booted_out and self._settings.get("ignore", 0) <= 0:
            job.start()
        if was_booted_out:
            # It answers 5 though the agent is loaded:
            # https://github.com/electricsheephq/evaos-code-review-bot-neondiff/pull/776
            return Answer(5, err="Bootstrap failed: 5: Input/output error\n")
        return Answer()

    def _boot_out(self, job: Job) -> Answer:
        """Start stopping the job, and answer without waiting: https://github.com/kxn/codex-remote-feishu/issues/914."""
        if job.stopping:
            # https://github.com/osquery/osquery/issues/5698
            return Answer(36, err="Boot-out failed: 36: Operation now in progress\n")
        task = asyncio.create_task(job.stop())
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)
        task.add_done_callback(lambda _: self.jobs.pop(job.agent.label))
        job.stopping = True
        self._unsettled[job.agent.label] = [37, 5]
        return Answer()

    def _kickstart(self, job: Job) -> Answer:
        if job.stopping or job.process is not None:
            return Answer(37, err="Could not kickstart service: 37: Operation already in progress\n")
        if self._happens("ignore"):
            return Answer(5, err="Could not kickstart service: 5: Input/output error\n")
        job.start()
        return Answer()

    @staticmethod
    def _print(job: Job) -> Answer:
        return Answer(out=job.report())


async def main() -> int:
    """Serve launchctl until SIGTERM."""
    launchd = Launchd(json.loads(sys.argv[2]))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = launchd.answer(json.loads(await reader.readline()))
        writer.write(json.dumps(vars(answer)).encode())
        writer.close()

    async with await asyncio.start_unix_server(serve, sys.argv[1], limit=2**20):
        await stop.wait()
        left = [*launchd.jobs.values()]
        for job in left:
            if not job.stopping:
                await job.stop()
    print("".join(f"{job.agent.label} is still loaded\n" for job in left), end="", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
