"""The listening sockets of a runtime: one port, on 127.0.0.1, on ::1 if there is IPv6, and on the --host, if any."""

import errno
import socket
from collections.abc import Iterable, Sequence
from typing import Any

from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.validate import parse_host

_TRIES = 50
# The addresses that stand for all addresses, with the loopback address that each of them includes.
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_Address = tuple[socket.AddressFamily, tuple[Any, ...]]


class PortError(ServiceError):
    """The port is in use or privileged, or the host is not an address of this machine."""


def is_wildcard(host: str) -> bool:
    """Return whether a host stands for all addresses of this machine."""
    return host in _WILDCARDS


def host_names(host: str, listeners: Iterable[socket.socket]) -> frozenset[str]:
    """Return the names of a server in a Host header: its `host` and its addresses."""
    addresses = {str(listener.getsockname()[0]).partition("%")[0] for listener in listeners}
    return frozenset(parse_host(name) for name in {host, *addresses} - _WILDCARDS.keys())


def listen(host: str, port: int, preferred: int | None = None) -> list[socket.socket]:
    """Return sockets that listen on `port` or, if it is 0, on `preferred` or else any free port.

    Args:
        host: the name or address to listen on, besides loopback.
        port: 0 to 65535.
        preferred: the port to use, if it is free and `port` is 0.

    Raises:
        PortError: `port` is in use or not allowed, none is free, or `host` is not an address of this machine.
    """
    addresses = _addresses(host)
    if port == 0 and preferred is not None:
        try:
            return _listen(addresses, preferred)
        except OSError:
            pass  # in use by now: take any other
    for _ in range(_TRIES):
        try:
            return _listen(addresses, port)
        except OSError as error:
            if error.errno == errno.EACCES:
                raise PortError(f"port {port} needs root: choose one from 1024 on") from None
            if error.errno == errno.EADDRNOTAVAIL:
                raise PortError(f"{host!r} is not an address of this machine: choose another --host, or none") from None
            if error.errno != errno.EADDRINUSE:
                raise
            if port != 0:
                raise PortError(f"port {port} is in use by another program: choose another --port, or none") from None
    raise PortError(f"found no port that is free on all addresses in {_TRIES} tries")


def _addresses(host: str) -> list[_Address]:
    """Return the addresses to listen on: loopback, for clients on this machine, and those of `host`."""
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
            # So that a restarted server gets its port back while old connections are in TIME_WAIT.
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
