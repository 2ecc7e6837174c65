"""What the lab asks of a device, and how a device says no."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import bench
from bench.schema import Case, DeviceInfo

# The suite's dtype names as torch's, where these differ.
_TORCH = {"tf32": "float32", "float8_e4m3": "float8_e4m3fn", "float4": "float4_e2m1fn_x2"}
_DTYPES = ("float64", "float32", "float16", "bfloat16", "int8", "int32", "int64", *_TORCH)


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
    """

    name: str
    function: str  # with a "<" an instance of a template ("chains<float, 8>")
    twin: Callable[..., Any]
    elements: int  # index of the argument that counts the elements, from which a GPU's grid follows
    per_thread: int = 4  # elements that one thread handles per tile
    threads: int = 256
    defines: tuple[tuple[str, Any], ...] = ()  # preprocessor values that specialise the body
    waves: int = 0  # blocks per SM of a grid that walks over the tiles by itself; 0 for a block per tile
    shared: int = 0  # bytes of dynamic shared memory per block


def kernel_source(name: str, suffix: str) -> Path:
    """The file of device code `name`, suffix ".c" or ".cu": in an installed wheel, else in a checkout. DeviceError."""
    package = Path(bench.__file__).resolve().parent
    folders = (package / "kernels", package.parent / "kernels")
    for folder in folders:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    raise DeviceError(f"no kernel source {name}{suffix} in {' or '.join(map(str, folders))}; reinstall ridgepoint")


@dataclass(frozen=True)
class Sample:
    """Seconds per launch of one timed batch."""

    seconds: float
    clock_hz: float | None = None  # the mean, where the device knows it
    count: int = 0  # launches that it really made, where that is not what was asked for
    doubt: str = ""  # why the time may be too long
    timing: str = ""  # "graph", "queued" behind a held stream, "synchronous", "back to back"; "" by the host's clock


class Device(Protocol):
    """What the lab needs of a machine. What has a body here is as the host does it; a GPU and a simulation differ."""

    info: DeviceInfo
    # 0 and 1 but inside a collective group
    rank: int = 0
    world: int = 1

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
        time.sleep(seconds)

    def now(self) -> float:
        """Seconds on the clock that budgets are spent on (virtual on a simulated device)."""
        return time.perf_counter()

    def agree(self, value: Any) -> Any:
        """Rank 0's value, on every rank, over the group's gloo half: no GPU takes part."""
        if self.world == 1:
            return value
        import torch.distributed as dist

        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, on every rank, in rank order."""
        return gathered(value, self.world)

    def all_reduce(self, tensor: Any, algorithm: str) -> Callable[[], Any]:
        """A launch that sums `tensor` over the ranks in place. Raises Unsupported."""
        import torch.distributed as dist

        if self.world == 1:
            raise Unsupported("a collective needs a group of ranks")
        return partial(dist.all_reduce, tensor)

    def telemetry(self) -> Mapping[str, Any]:
        """Counters now; judge() decides from two of them."""

    def watch(self) -> AbstractContextManager[dict[str, Any]]:
        """Looks at clock, power and temperature while the block runs; the summary is in the dict when it has ended."""

    def judge(self, telemetry: Mapping[str, Any], elapsed: float) -> tuple[str, tuple[str, ...]]:
        """("valid" | "suspect" | "invalid", reasons) for what ran between telemetry["before"] and ["after"]."""

    def close(self) -> None: ...


def gathered(value: Any, world: int) -> list[Any]:
    """Every rank's value, on every rank, in rank order."""
    if world == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * world
    dist.all_gather_object(values, value)
    return values


def torch_dtype(name: str) -> Any:
    """torch's dtype of one of the suite's names. Raises Unsupported for one that this torch lacks."""
    import torch

    if name not in _DTYPES or not hasattr(torch, _TORCH.get(name, name)):
        raise Unsupported(f"torch {torch.__version__} has no dtype {name}")
    return getattr(torch, _TORCH.get(name, name))
