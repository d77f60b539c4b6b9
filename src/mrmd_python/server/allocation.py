"""Settings of the C library's allocator."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_MMAP_BYTES, _TRIM_BYTES = 4 << 20, 8 << 20


def keep_read_buffers() -> None:
    """Make glibc's malloc take read buffers from the heap (mallopt(3)).

    Reading a socket or a pipe allocates a buffer for the longest possible message. By default, malloc maps and unmaps
    buffers above 128 KiB each time, which takes longer than reading a message.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
