"""Where people read: a terminal or a pipe whose reader may leave. Imports nothing that a Run would wait for."""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

from rich.console import Console


class _Patient:
    """A stream whose reader may leave (`bench all | head`): a Run goes on without being watched."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(BrokenPipeError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(BrokenPipeError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def waiting(console: Console) -> Callable[[str], None]:
    """Says once whom a measurement waits for."""
    return lambda who: console.print(f"waiting for another measurement: {who}", markup=False)


def open_console(stderr: bool) -> Console:
    """A console that keeps to NO_COLOR, and writes plain lines where there is no terminal."""
    return Console(file=_Patient(sys.stderr if stderr else sys.stdout), highlight=False, soft_wrap=False)
