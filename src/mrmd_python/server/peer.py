"""Which local user opened a connection (sock_diag(7); proc_net_tcp in the kernel's documentation)."""

import errno
import os
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NO_COOKIE = b"\xff" * 8
# The states in which a process may have the socket open: ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK and
# CLOSING (linux/tcp_states.h).
_CONNECTED = {1, 4, 5, 8, 9, 11}
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class CannotTellError(Exception):
    """Which user opened a connection cannot be found out now: for one, there are no descriptors left."""


class Connection(NamedTuple):
    """A TCP connection: the address and port of each end."""

    # None if unknown: the connection is closed, or there is a proxy in between.
    client: "_Endpoint | None"
    server: "_Endpoint"

    @classmethod
    def from_addresses(cls, client: object, server: object) -> "Connection | None":
        """Return the connection with these addresses of getpeername(2) and getsockname(2), or None if it is not TCP."""
        server_end = _endpoint(server)
        return None if server_end is None else cls(_endpoint(client), server_end)

    @property
    def is_local(self) -> bool:
        """Whether the client is known to be on this machine's loopback."""
        return self.client is not None and self.client[0].is_loopback

    def client_uid(self) -> int | None:
        """Return the uid of the user who opened the connection, or None if the client has closed it.

        The kernel reports some closed sockets as root's, so those do not count.

        Raises:
            CannotTellError: it cannot be found out now.
        """
        if self.client is None:
            return None
        try:
            found = _find_socket(self.client, self.server)
        except OSError as error:
            raise CannotTellError(error.strerror) from None
        return None if found is None or found.inode == 0 else found.uid


def can_identify_users() -> bool:
    """Return whether this system can say which user opened a connection."""
    return sys.platform == "linux"


def prepare() -> None:
    """Open the socket for the queries, while there are descriptors."""
    if can_identify_users():
        try:
            _netlink.open()
        except OSError:
            pass  # not in this sandbox


_Endpoint = tuple[IPv4Address | IPv6Address, int]


def _endpoint(sockaddr: object) -> _Endpoint | None:
    if not isinstance(sockaddr, (tuple, list)) or len(sockaddr) < 2 or not isinstance(sockaddr[1], int):
        return None
    try:
        address = ip_address(str(sockaddr[0]).partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address, sockaddr[1]


class _Socket(NamedTuple):
    uid: int
    # 0 if it is closed.
    inode: int


class _Netlink:
    """The socket for sock_diag queries. It stays open, so that a query needs no descriptor."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def open(self) -> socket.socket:
        """Return the socket.

        Raises:
            OSError: it cannot be opened.
        """
        if self._socket is None:
            kernel = socket.socket(
                socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _NETLINK_SOCK_DIAG
            )
            kernel.connect((0, 0))
            self._socket = kernel
        return self._socket

    def ask(self, request: bytes) -> bytes:
        """Return the kernel's answer, which is there when the query has been sent.

        Raises:
            OSError: it cannot be asked.
        """
        with self._lock:
            kernel = self.open()
            try:
                kernel.send(request)
                return kernel.recv(4096)
            except OSError:
                self.close()  # so that no answer is taken for that to another query
                raise

    def close(self) -> None:
        """Close the socket; the next query opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


_netlink = _Netlink()


def _forget_netlink() -> None:
    """Use another socket in a forked child, where the answers to its parent could arrive."""
    global _netlink
    _netlink.close()
    _netlink = _Netlink()


os.register_at_fork(after_in_child=_forget_netlink)


def _find_socket(end: _Endpoint, other: _Endpoint) -> _Socket | None:
    """Find the connected socket at `end`.

    Raises:
        OSError: it cannot be found out now.
    """
    try:
        found = _ask_kernel(end, other)
        # If it does not find our own end either, the kernel does not support this query.
        if found is not None or _ask_kernel(other, end) is not None:
            return found
    except OSError as error:
        if error.errno in _OUT_OF_RESOURCES:
            raise
    return _search_proc(end, other)


def _ask_kernel(end: _Endpoint, other: _Endpoint) -> _Socket | None:
    """Find the connected socket at `end` with a sock_diag query."""
    family = socket.AF_INET if end[0].version == 4 else socket.AF_INET6
    ports = struct.pack("!HH", end[1], other[1])
    addresses = ports + end[0].packed.ljust(16, b"\0") + other[0].packed.ljust(16, b"\0")
    request = struct.pack("=BBxxI", family, socket.IPPROTO_TCP, 0xFFFFFFFF) + addresses + bytes(4) + _NO_COOKIE
    header = struct.pack("=IHHII", 16 + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    answer = _netlink.ask(header + request)
    if struct.unpack_from("=H", answer, 4) != (_SOCK_DIAG_BY_FAMILY,):
        return None
    # struct inet_diag_msg (linux/inet_diag.h): four bytes, struct inet_diag_sockid, five integers
    state = answer[17]
    uid, inode = struct.unpack_from("=II", answer, 80)
    # If there is no such connection, the kernel answers with a socket that listens at that address.
    return _Socket(uid, inode) if state in _CONNECTED and answer[20:24] == ports else None


def _search_proc(end: _Endpoint, other: _Endpoint) -> _Socket | None:
    """Find the connected socket at `end` in /proc. This takes a thousand times as long, but works in every sandbox."""
    spellings = {(_in_proc(end, mapped), _in_proc(other, mapped)) for mapped in (False, True)}
    for fields in _proc_rows():
        if (fields[1], fields[2]) in spellings and int(fields[3], 16) in _CONNECTED:
            return _Socket(int(fields[7]), int(fields[9]))
    return None


def _proc_rows() -> Iterator[list[str]]:
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{os.getpid()}/net/{name}").read_text().splitlines()[1:]
        except FileNotFoundError:
            continue  # a kernel without IPv6
        yield from map(str.split, lines)


def _in_proc(end: _Endpoint, mapped: bool) -> str:
    """Return an address and port as /proc spells them: in hexadecimal, as 32-bit words in this machine's byte order."""
    address = end[0].packed
    if mapped and len(address) == 4:
        address = bytes(10) + b"\xff\xff" + address
    words = struct.unpack(f"={len(address) // 4}I", address)
    return "".join(f"{word:08X}" for word in words) + f":{end[1]:04X}"
