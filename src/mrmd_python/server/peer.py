"""Which user opened a connection on this machine (sock_diag(7), proc_net_tcp in the kernel's documentation)."""

import os
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NO_COOKIE = b"\xff" * 8
# ESTABLISHED and what follows while an end is still open (linux/tcp_states.h); not TIME_WAIT, SYN_SENT or LISTEN.
_CONNECTED = {1, 4, 5, 8, 9, 11}


@dataclass(frozen=True)
class Connection:
    """A TCP connection as its server sees it: address and port of both ends."""

    # None if it is not known: it is closed already, or there is a proxy between.
    client: "_End | None"
    server: "_End"

    @classmethod
    def of_names(cls, client: object, server: object) -> "Connection | None":
        """Return the connection between what getpeername(2) and getsockname(2) say, or None if that is not TCP."""
        listening = _end(server)
        return None if listening is None else cls(_end(client), listening)

    @property
    def is_local(self) -> bool:
        """Whether the client is known to be on this machine's loopback."""
        return self.client is not None and self.client[0].is_loopback

    def client_uid(self) -> int | None:
        """Return the uid of the user who opened the client's end, or None if that end is closed already.

        A closed end belongs to nobody; the kernel reports some of them as root's.
        """
        if self.client is None:
            return None
        try:
            found = _diagnosed(self.client, self.server)
            # Our own end exists: where it is unknown, too, the kernel does not answer such questions.
            if found is None and _diagnosed(self.server, self.client) is None:
                found = _listed(self.client, self.server)
        except OSError:
            found = _listed(self.client, self.server)
        return None if found is None or found.inode == 0 else found.uid


def can_tell() -> bool:
    """Return whether this system knows the user of a connection."""
    return sys.platform == "linux"


_End = tuple[IPv4Address | IPv6Address, int]


def _end(name: object) -> _End | None:
    if not isinstance(name, (tuple, list)) or len(name) < 2 or not isinstance(name[1], int):
        return None
    try:
        address = ip_address(str(name[0]).partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address, name[1]


@dataclass(frozen=True)
class _Socket:
    uid: int
    # 0 if no process has it open.
    inode: int


def _diagnosed(end: _End, other: _End) -> _Socket | None:
    """Ask the kernel for the connected socket at `end`."""
    family = socket.AF_INET if end[0].version == 4 else socket.AF_INET6
    ports = struct.pack("!HH", end[1], other[1])
    wanted = ports + end[0].packed.ljust(16, b"\0") + other[0].packed.ljust(16, b"\0")
    request = struct.pack("=BBxxI", family, socket.IPPROTO_TCP, 0xFFFFFFFF) + wanted + bytes(4) + _NO_COOKIE
    header = struct.pack("=IHHII", 16 + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as kernel:
        kernel.connect((0, 0))
        kernel.send(header + request)
        answer = kernel.recv(4096)
    if struct.unpack_from("=H", answer, 4) != (_SOCK_DIAG_BY_FAMILY,):
        return None
    # struct inet_diag_msg, linux/inet_diag.h: four bytes, struct inet_diag_sockid, five numbers
    state = answer[17]
    uid, inode = struct.unpack_from("=II", answer, 80)
    # With no connection there, the kernel answers with a socket that listens at that end.
    return _Socket(uid, inode) if state in _CONNECTED and answer[20:24] == ports else None


def _listed(end: _End, other: _End) -> _Socket | None:
    """Look for the connected socket at `end` in /proc, which takes a thousand times as long but is never restricted."""
    wanted = {(_hexadecimal(end, mapped), _hexadecimal(other, mapped)) for mapped in (False, True)}
    for fields in _lines():
        if (fields[1], fields[2]) in wanted and int(fields[3], 16) in _CONNECTED:
            return _Socket(int(fields[7]), int(fields[9]))
    return None


def _lines() -> Iterator[list[str]]:
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{os.getpid()}/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue  # a kernel without IPv6
        yield from map(str.split, lines)


def _hexadecimal(end: _End, mapped: bool) -> str:
    """Return an end as /proc has it: the address as 32-bit words of this machine's byte order."""
    address = end[0].packed
    if mapped and len(address) == 4:
        address = bytes(10) + b"\xff\xff" + address
    words = struct.unpack(f"={len(address) // 4}I", address)
    return "".join(f"{word:08X}" for word in words) + f":{end[1]:04X}"
