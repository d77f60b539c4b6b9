"""A stand-in for launchd, as far as agents need one: starts, stops and restarts their processes.

    python daemon.py SOCKET DOMAIN_ENVIRONMENT_AS_JSON

The program launchctl, beside the socket, sends it requests. It behaves as launchctl(1) documents, or as users of
macOS 10.15 to 26 have reported. Where releases differ it does what is harder for its callers, and where launchd is
lenient it is strict. It exits at SIGTERM, with status 1 if an agent is still loaded then.
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


@dataclass(frozen=True)
class Answer:
    """The output and the exit status of launchctl."""

    status: int = 0
    out: str = ""
    err: str = ""


def _no_such_service(label: str) -> Answer:
    return Answer(113, err=f'Could not find service "{label}" in domain for user gui: {os.getuid()}\n')


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
        self.end = f"last exit code = {code}" if name is None else f"last terminating signal = {name}"
        if self.agent.restarts_after(code, name) and not self.stopping:
            pause = max(0.0, self.started + keys.get("ThrottleInterval", 10) - time.monotonic())
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
        """Return the output of ``launchctl print``, which has a second "state", that of the resource coalition."""
        keys = self.agent.keys
        fields = [f"path = {self.agent.path}", "type = LaunchAgent", f"state = {self.state()}", ""]
        fields += [f"program = {keys['ProgramArguments'][0]}", "arguments = {"]
        fields += [f"\t{argument}" for argument in keys["ProgramArguments"]]
        fields += ["}", "", f"runs = {self.runs}"]
        fields += [f"pid = {self.process.pid}"] if self.process is not None else []
        fields += [self.end, "resource coalition = {", f"\tID = {self.coalition}", "\tstate = active", "}"]
        return f"{_DOMAIN}/{self.agent.label} = {{\n" + "".join(f"\t{line}\n" for line in fields) + "}\n"


class Launchd:
    """The user's GUI domain."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self.jobs: dict[str, Job] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._booted_out: set[str] = set()

    def answer(self, arguments: list[str]) -> Answer:
        """Carry out a launchctl command."""
        match arguments:
            case ["print", target] if target == _DOMAIN:
                return Answer(out=f"{_DOMAIN} = {{\n\ttype = login\n}}\n")
            case ["bootstrap", target, path] if target == _DOMAIN:
                return self._bootstrap(Path(path))
            case [("print" | "bootout" | "kickstart") as verb, target] if target.startswith(f"{_DOMAIN}/"):
                label = target.removeprefix(f"{_DOMAIN}/")
                job = self.jobs.get(label)
                if job is None:
                    # https://github.com/nix-community/home-manager/issues/9585
                    missing = Answer(3, err="Boot-out failed: 3: No such process\n")
                    return missing if verb == "bootout" else _no_such_service(label)
                return {"print": self._print, "bootout": self._boot_out, "kickstart": self._kickstart}[verb](job)
        return Answer(64, err=f"Unrecognized target specifier or usage: launchctl {' '.join(arguments)}\n")

    def _bootstrap(self, path: Path) -> Answer:
        try:
            agent = Agent.read(path)
        except (RefusedError, OSError, ValueError, KeyError) as error:
            return Answer(5, err=f"Bootstrap failed: 5: Input/output error: {error}\n")
        loaded = self.jobs.get(agent.label)
        if loaded is not None:
            # The status depends on the release: https://github.com/openclaw/openclaw/pull/71413 has 37,
            # https://github.com/atomantic/PortOS/pull/1658 has 5.
            if loaded.stopping:
                return Answer(37, err="Bootstrap failed: 37: Operation already in progress\n")
            return Answer(5, err="Bootstrap failed: 5: Input/output error\nTry re-running the command as root.\n")
        self.jobs[agent.label] = job = Job(agent, self._environment)
        # After a bootout it may stay loaded, not started, until kickstart:
        # https://github.com/openbase-community/openbase/pull/15.
        if agent.runs_at_load() and agent.label not in self._booted_out:
            job.start()
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
        self._booted_out.add(job.agent.label)
        return Answer()

    @staticmethod
    def _kickstart(job: Job) -> Answer:
        if job.stopping:
            return Answer(37, err="Could not kickstart service: 37: Operation already in progress\n")
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
