"""What the lab asks of a device, and how a device says no."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from bench.schema import Case, DeviceInfo


class DeviceError(Exception):
    """A device cannot be opened or used; the message says what to do."""


class CheckFailed(Exception):
    """A kernel's result differs from its oracle's."""


class OutOfMemory(Exception):
    """A case needs more memory than the device can give."""


class Unsupported(Exception):
    """This device cannot run the case; the message is the reason for its skip."""


class CaptureBroken(Exception):
    """A graph capture failed and left this process unable to capture, so that every later time would be the host's.

    No case is to blame for what follows: the process is replaced, and these launches are queued in the next one.
    """


@dataclass(frozen=True)
class Kernel:
    """Device code: CUDA body in kernels/NAME.cu, host body in kernels/NAME.c, torch twin as the oracle of both.

    Every body has the C signature `void function(tensors..., integers as long long, reals as double)` in the order of
    the launch's arguments. twin(*same arguments) computes the same with torch, in place on the outputs.
    elements: index of the argument that counts the elements, from which a GPU's grid follows. per_thread: elements
    that one thread handles per tile. defines: preprocessor values that specialise the body. waves: blocks per SM of a
    grid that walks over the tiles by itself; 0 for a block per tile. shared: bytes of dynamic shared memory per block.
    A function with a "<" is a template's instance ("chains<float, 8>").
    """

    name: str
    function: str
    twin: Callable[..., Any]
    elements: int
    per_thread: int = 4
    threads: int = 256
    defines: tuple[tuple[str, Any], ...] = ()
    waves: int = 0
    shared: int = 0


@dataclass(frozen=True)
class Sample:
    """Seconds per launch of one timed batch, with the mean clock where the device knows it.

    count: launches that it really made, where that is not what was asked for. doubt: why the time may be too long.
    timing: how it was taken: "graph", "queued" behind a held stream, "synchronous", "back to back"; "" by the host's
    clock around launches that return when they are done.
    """

    seconds: float
    clock_hz: float | None = None
    count: int = 0
    doubt: str = ""
    timing: str = ""


class Device(Protocol):
    """What the lab needs of a machine. rank and world are 0 and 1 but inside a collective group."""

    info: DeviceInfo
    rank: int
    world: int

    def empty(self, *shape: int, dtype: str) -> Any:
        """An uninitialised tensor (poisoned where the caller checks it). Raises OutOfMemory."""

    def host(self, *shape: int, dtype: str, memory: str) -> Any:
        """A tensor in `memory` ("pinned", "pageable") of the host, near the device. Raises OutOfMemory, Unsupported."""

    def duplex(self, one: Callable[[], Any], other: Callable[[], Any]) -> Callable[[], Any]:
        """A launch that runs two at once and ends with the later. Raises Unsupported."""

    def random(self, *shape: int, dtype: str) -> Any:
        """Uniform in [-1, 1] (integers: -128..127) from the Run's seed. Raises OutOfMemory."""

    def rotation(self, launch_bytes: float, cache: str) -> int:
        """How many distinct buffer sets a case needs so that four last-level caches pass between two uses of one."""

    def load(self, kernel: Kernel) -> Callable[..., None]:
        """A callable launch(*arguments). Raises Unsupported or DeviceError (with the compiler's message)."""

    def begin(self, case: Case) -> None:
        """A repetition starts: its buffers are ready, nothing is timed yet."""

    def time(self, case: Case, launches: Sequence[Callable[[], Any]], count: int) -> Sample:
        """Runs `count` launches, cycling, and returns the mean time of one."""

    def synchronize(self) -> None: ...

    def rest(self, seconds: float) -> None:
        """Leaves the device idle for a while."""

    def now(self) -> float:
        """Seconds on the clock that budgets are spent on (virtual on a simulated device)."""

    def agree(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""

    def all_reduce(self, tensor: Any, algorithm: str) -> Callable[[], Any]:
        """A launch that sums `tensor` over the ranks in place. Raises Unsupported."""

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, on every rank, in rank order."""

    def telemetry(self) -> Mapping[str, Any]:
        """Counters now; judge() decides from two of them."""

    def watch(self) -> AbstractContextManager[dict[str, Any]]:
        """Looks at clock, power and temperature while the block runs; the summary is in the dict when it has ended."""

    def judge(self, telemetry: Mapping[str, Any], elapsed: float) -> tuple[str, tuple[str, ...]]:
        """("valid" | "suspect" | "invalid", reasons) for what ran between telemetry["before"] and ["after"]."""

    def close(self) -> None: ...
