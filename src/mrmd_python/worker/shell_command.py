"""Runs the shell commands of ``!command``, ``%pip`` and other magics."""

import codecs
import os
import selectors
import shutil
import signal
import subprocess
import sys
from typing import IO, Any, Optional

from . import sigint
from .streams import Stream

# How often to check whether a command has ended, while a child of it keeps its pipes open.
_POLL_SECONDS = 0.1


class ShellCommand:
    """A shell command, started as os.system does.

    It writes to the session's file descriptors. If a cell has replaced ``sys.stdout`` or ``sys.stderr``, its output
    is copied to the replacement as it arrives.
    """

    def __init__(self, command: str) -> None:
        # Not /bin/sh, which may be dash: version 0.5.12 loses a SIGINT that arrives while it forks.
        program = os.environ.get("SHELL") or shutil.which("bash")
        out, err = (_replacement(name) for name in ("stdout", "stderr"))
        with sigint.recorded() as interrupts:
            self._process = subprocess.Popen(  # noqa: S602 - that is what it is for
                command,
                shell=True,
                executable=program,
                stdout=None if out is None else subprocess.PIPE,
                stderr=None if err is None else subprocess.PIPE,
            )
            if interrupts:  # before the child existed
                os.killpg(0, signal.SIGINT)
        self._is_interrupted = bool(interrupts)
        pipes = (self._process.stdout, out), (self._process.stderr, err)
        self._copies = [_Copy(pipe, stream) for pipe, stream in pipes if pipe is not None]

    @property
    def status(self) -> Optional[int]:
        """The exit status; minus the signal number if a signal killed the command."""
        return self._process.returncode

    def finish(self) -> None:
        """Wait for the command.

        Raises:
            KeyboardInterrupt: an interrupt arrived, which was sent to the command as well.
        """
        with self._process:
            try:
                self._wait()
            except KeyboardInterrupt:
                self._is_interrupted = True
                self._wait()
        if self._is_interrupted:
            raise KeyboardInterrupt

    def _wait(self) -> None:
        with selectors.DefaultSelector() as selector:
            for copy in self._copies:
                if not copy.is_complete:
                    selector.register(copy.pipe, selectors.EVENT_READ, copy)
            while selector.get_map():
                ready = selector.select(_POLL_SECONDS)
                for key, _ in ready:
                    key.data.read()
                    if key.data.is_complete:
                        selector.unregister(key.fileobj)
                if not ready and self._process.poll() is not None:
                    break  # a process that it left behind keeps the pipes open
        self._process.wait()


class _Copy:
    def __init__(self, pipe: "IO[bytes]", stream: Any) -> None:
        self.pipe = pipe
        self.is_complete = False
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read(self) -> None:
        data = os.read(self.pipe.fileno(), 65536)
        self.is_complete = not data
        self._stream.write(self._decoder.decode(data, final=not data))


def _replacement(name: str) -> Any:
    """Return the stream that a cell has assigned to ``sys.stdout`` or ``sys.stderr``, or None."""
    stream = getattr(sys, name, None)
    return None if isinstance(stream, Stream) else stream
