"""The listening sockets of a runtime: one port, on 127.0.0.1 and, where the machine has it, on ::1."""

import errno
import socket

_TRIES = 50


class PortError(Exception):
    """The port that was asked for is another program's, or not for ordinary users."""


def listen(port: int, preferred: int | None = None) -> list[socket.socket]:
    """Return sockets that listen on `port` or, if it is 0, on `preferred` or else any free port.

    Raises:
        PortError: `port` is taken or not allowed, or none is free.
    """
    if port == 0 and preferred is not None:
        try:
            return _listen(preferred)
        except OSError:
            pass  # taken since; any other will do
    for _ in range(_TRIES):
        try:
            return _listen(port)
        except OSError as error:
            if error.errno == errno.EACCES:
                raise PortError(f"port {port} is not for ordinary users: choose one from 1024 on") from None
            if error.errno != errno.EADDRINUSE:
                raise
            if port != 0:
                raise PortError(f"port {port} is in use by another program: choose another --port, or none") from None
    raise PortError(f"no port was free on both 127.0.0.1 and ::1 in {_TRIES} tries")


def _listen(port: int) -> list[socket.socket]:
    opened: list[socket.socket] = []
    try:
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            try:
                listener = socket.socket(family, socket.SOCK_STREAM)
            except OSError:
                continue  # a kernel without IPv6
            opened.append(listener)
            # Lets a restarted server have its port back while old connections linger in TIME_WAIT.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                listener.bind((address, port))
            except OSError as error:
                if family == socket.AF_INET6 and error.errno == errno.EADDRNOTAVAIL:
                    opened.remove(listener)
                    listener.close()
                    continue  # IPv6 is switched off
                raise
            listener.listen(1024)
            port = port or listener.getsockname()[1]
    except BaseException:
        for listener in opened:
            listener.close()
        raise
    return opened
