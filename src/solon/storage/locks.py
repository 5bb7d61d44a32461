"""A lock of one process on a file: the kernel's (`flock`), so it dies with its process and can never be stale."""

import errno
import fcntl
import os
from pathlib import Path


def take_lock(path: Path) -> int:
    """Lock a file for this process, which is made if absent and says who holds it.

    Args:
        path: the file; nothing but the lock is kept in it.

    Returns:
        Its descriptor; closing it lets go of the lock.

    Raises:
        BlockingIOError: another process holds it; `strerror` is that process, for people.
        OSError: the file cannot be made, or its file system cannot lock.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(handle, 32).decode(errors="replace").strip()
            who = f"process {owner}" if owner else "another process"
            raise BlockingIOError(errno.EWOULDBLOCK, who, str(path)) from error
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
    except BaseException:
        os.close(handle)
        raise
    return handle
