"""The listening sockets of a runtime: one port, on 127.0.0.1, on ::1 where the machine has it, and where else asked."""

import errno
import socket
from collections.abc import Iterable, Sequence
from typing import Any

from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.validate import parse_host

_TRIES = 50
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""The addresses that mean all of their kind, each with the one of loopback among them."""
_Address = tuple[socket.AddressFamily, tuple[Any, ...]]


class PortError(ServiceError):
    """The port that was asked for is another program's, or not for ordinary users; or the host is not this machine."""


def is_wildcard(host: str) -> bool:
    """Return whether a host means all addresses of this machine."""
    return host in _WILDCARDS


def names(host: str, listeners: Iterable[socket.socket]) -> frozenset[str]:
    """Return what a server that was told to listen on `host` is called in a Host header: that, and its addresses."""
    addresses = {str(listener.getsockname()[0]).partition("%")[0] for listener in listeners}
    return frozenset(parse_host(name) for name in {host, *addresses} - _WILDCARDS.keys())


def listen(host: str, port: int, preferred: int | None = None) -> list[socket.socket]:
    """Return sockets that listen on `port` or, if it is 0, on `preferred` or else any free port.

    Args:
        host: where, besides loopback.
        port: 0 to 65535.
        preferred: which one of those that are free.

    Raises:
        PortError: `port` is taken or not allowed, none is free, or `host` is not this machine.
    """
    addresses = _addresses(host)
    if port == 0 and preferred is not None:
        try:
            return _listen(addresses, preferred)
        except OSError:
            pass  # taken since; any other will do
    for _ in range(_TRIES):
        try:
            return _listen(addresses, port)
        except OSError as error:
            if error.errno == errno.EACCES:
                raise PortError(f"port {port} is not for ordinary users: choose one from 1024 on") from None
            if error.errno == errno.EADDRNOTAVAIL:
                raise PortError(f"{host!r} is no address of this machine: choose another --host, or none") from None
            if error.errno != errno.EADDRINUSE:
                raise
            if port != 0:
                raise PortError(f"port {port} is in use by another program: choose another --port, or none") from None
    raise PortError(f"no port was free on both 127.0.0.1 and ::1 in {_TRIES} tries")


def _addresses(host: str) -> list[_Address]:
    """Return where to listen: on loopback, where every client of this machine looks, and on what `host` stands for."""
    loopback = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}
    addresses: dict[str, _Address] = {name: (family, (name, 0)) for name, family in loopback.items()}
    if host == "localhost":
        return list(addresses.values())
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        raise PortError(f"the host {host!r} has no address: choose another --host, or none") from None
    for family, _, _, _, name in found:
        addresses.pop(_WILDCARDS.get(str(name[0]), ""), None)
        addresses[str(name[0])] = (family, name)
    return list(addresses.values())


def _listen(addresses: Sequence[_Address], port: int) -> list[socket.socket]:
    opened: list[socket.socket] = []
    try:
        for family, name in addresses:
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
                listener.bind((name[0], port, *name[2:]))
            except OSError as error:
                if name[0] == "::1" and error.errno == errno.EADDRNOTAVAIL:
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
