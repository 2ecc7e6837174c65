"""Devices behind one protocol, chosen by name: "auto", "cpu", "cuda:0", a GPU's UUID, "sim:SKU,option=value"."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Kernel:
    """A function of device code: CUDA body in kernels/NAME.cu, host body in kernels/NAME.c, torch twin as oracle of both.

    Every body has the C signature `void function(tensors..., integers as long long, reals as double)` in the order of the
    launch's arguments. twin(*same arguments) computes the same with torch, in place on the outputs.
    elements: index of the argument that counts the elements, from which a GPU's grid follows. per_thread: elements
    that one thread handles per tile. defines: preprocessor values that specialise the body.
    """

    name: str
    function: str
    twin: Callable[..., Any]
    elements: int
    per_thread: int = 4
    threads: int = 256
    defines: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Sample:
    """Seconds per launch of one timed batch, with the mean clock where the device knows it."""

    seconds: float
    clock_hz: float | None = None


class Device(Protocol):
    """What the lab needs of a machine. rank and world are 0 and 1 but inside a collective group."""

    info: DeviceInfo
    rank: int
    world: int

    def empty(self, *shape: int, dtype: str) -> Any:
        """An uninitialised tensor (poisoned where the caller checks it). Raises OutOfMemory."""

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

    def judge(self, before: Mapping[str, Any], after: Mapping[str, Any], elapsed: float) -> tuple[str, tuple[str, ...]]:
        """("valid" | "suspect" | "invalid", reasons) for what ran between two telemetries."""

    def close(self) -> None: ...
