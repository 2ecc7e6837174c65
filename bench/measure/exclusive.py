"""One measurement at a time on a machine: two at once would each measure the other."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# Where every user of the machine looks; a lock per user would let two users spoil each other's numbers.
# Not the TMPDIR of a job, which would be a lock per job.
PATH = Path("/tmp/ridgepoint.lock")
_EVERY = 0.5


class MachineBusy(Exception):
    """Another measurement kept the machine for longer than was waited; the message says who."""


def machine(devices: Sequence[str], wait: float, tell: Callable[[str], None]) -> AbstractContextManager[None]:
    """The machine for as long as something is measured on these devices; a datasheet needs none. As exclusive()."""
    return nullcontext() if devices[0].startswith("sim:") else exclusive(wait, tell)


@contextmanager
def exclusive(wait: float, tell: Callable[[str], None] = lambda holder: None, path: Path = PATH) -> Iterator[None]:
    """The machine for as long as the block lasts; the kernel lets go of it however the process ends.

    wait: seconds to wait for whoever has it. tell: hears once who that is. Raises MachineBusy.
    """
    handle = _opened(path)
    if handle is None:  # a file system without a place for a lock is no reason not to measure
        yield
        return
    try:
        until, told = time.monotonic() + wait, False
        while not _locked(handle):
            holder = _holder(path)
            if time.monotonic() >= until:
                raise MachineBusy(
                    f"another measurement has this machine: {holder}. Two at once would measure each other; try again"
                    " later, or wait longer with --wait"
                )
            if not told:
                tell(holder)
                told = True
            time.sleep(min(_EVERY, max(0.01, until - time.monotonic())))
        with suppress(OSError):
            os.ftruncate(handle, 0)
            holder = f"pid {os.getpid()}, since {time.strftime('%H:%M:%S')}: {_command()}"
            os.pwrite(handle, holder.encode("utf-8", "backslashreplace"), 0)
        yield
    finally:
        os.close(handle)


def _command() -> str:
    return " ".join(["python -m bench", *sys.argv[1:]])[:200]


def _opened(path: Path) -> int | None:
    """The lock's file, None where there can be none; another user's can be locked though not be written."""
    if fcntl is None:
        return None
    for flags in (os.O_RDWR, os.O_RDONLY, os.O_RDWR | os.O_CREAT):
        with suppress(OSError):
            return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    return None


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: nobody has it, and waiting would last for ever
        return True
    return True


def _holder(path: Path) -> str:
    with suppress(OSError):
        if text := path.read_text(encoding="utf-8", errors="replace").strip():
            return text
    return "by someone who left no name"
