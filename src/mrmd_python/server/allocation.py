"""How the server's memory is allocated."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_MMAP_BYTES, _TRIM_BYTES = 4 << 20, 8 << 20


def keep_read_buffers() -> None:
    """Have malloc take what is read into from the heap (mallopt(3)), where it is glibc's.

    Whoever reads a socket or a pipe takes room for all that may come, and gives back what is over. Room beyond 128 KiB
    would be mapped and unmapped again each time, which takes longer than to read a message does.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
