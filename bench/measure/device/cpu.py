"""The host as a device: compiled C bodies on pinned threads, torch for library calls, the host's clock for time."""

import ctypes
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from bench.measure.device import cc, host
from bench.measure.device.host import CORES, sysconf
from bench.measure.device.protocol import Device, DeviceError, Kernel, OutOfMemory, Sample, Unsupported, torch_dtype
from bench.schema import Case, DeviceInfo
from bench.theory import cpu as families

# Random data is drawn once in this many elements and repeated: a CPU's speed does not depend on the repeat, and
# drawing gigabytes one by one would take longer than measuring them. Odd, so that rows of a matrix differ.
_BLOCK = (1 << 20) - 1
_MAX_RING = 1 << 15
# From here on arrays have pages of their own. The stagger moves on by 64-byte lines, by pages and by DRAM rows alike.
_LARGE, _STAGGER = 4 << 20, (512 << 10) + (4 << 10) + 1024
# Of /proc/stat's counters, per second.
_TICK = sysconf("SC_CLK_TCK") or 100


def pinned_environment() -> dict[str, str]:
    """What a process needs in its environment, before any OpenMP runtime loads, to run one pinned thread per core."""
    places = ",".join(f"{{{cpu}}}" for cpu in CORES)
    return {"OMP_NUM_THREADS": str(len(CORES)), "OMP_PROC_BIND": "close", "OMP_PLACES": places}


class CpuDevice(Device):
    """The Device protocol on the cores this process may use."""

    def __init__(self, seed: int = 0, rank: int = 0, world: int = 1):
        import torch

        self.rank, self.world = rank, world
        self._generator = torch.Generator().manual_seed(seed)
        self._blocks: dict[str, Any] = {}
        self._next = self._stagger = 0
        self._compiler = cc.compiler()
        self.info = self._describe()

    def _describe(self) -> DeviceInfo:
        fields, threads = host.cpuinfo(), len(CORES)
        name = fields.get("model name", "CPU")
        facts = {"cores": str(host.physical_cores()), "threads": str(threads)}
        if host.is_virtual():
            facts["virtual"] = "yes"
        loops = {}
        if self._compiler:
            facts["compiler"] = self._compiler.version
            for dtype in ("float64", "float32", "float16"):
                with suppress(Unsupported):
                    loops[dtype] = cc.integer("fma", f"fma_lanes_{dtype}") * threads
            if family := families.find(fields):
                facts |= {"family": family.key, "clock_hz": f"{self._clock(family):.0f}"}
        else:
            loops = {"float64": 16384 * threads, "float32": 16384 * threads}
            twins = "torch twins instead of compiled kernels, so loop and stream roofs are under-estimates"
            facts["caution"] = f"no C compiler: {twins}"
        return DeviceInfo(
            id="cpu",
            name=name,
            product=slug(f"{name} {threads}c"),
            memory_bytes=host.memory_total(),
            caches=host.caches(),
            units=dict.fromkeys(("float64", "float32", "bfloat16", "float16", "int8"), "vector"),
            loops=loops,
            stores=("streaming", "plain") if self._compiler else ("default",),
            algorithms=("gloo",),
            ranks=min(4, max(2, threads // 2)),
            regime="steady",
            facts=facts,
            attention=("flash", "math"),
        )

    def _clock(self, family: Any) -> float:
        """Hz while every core runs a dependent chain of vector FMAs: the chain's length times the latency over time."""
        n, steps = cc.integer("fma", "fma_vector_float32") * cc.integer("fma", "threads"), 1 << 21
        chain = cc.function(Kernel("fma", "fma_float32", None, elements=2))
        x, y = self.random(n, dtype="float32"), self.empty(n, dtype="float32")
        best = math.inf
        for _ in range(60):  # a tenth of a second: clocks rise under load
            begun = time.perf_counter()
            chain(x, y, n, steps, -1.0, 0.5)
            best = min(best, time.perf_counter() - begun)
        return steps * family.fma_latency_cycles / best

    def empty(self, *shape: int, dtype: str) -> Any:
        import torch

        kind, count = torch_dtype(dtype), math.prod(shape)
        size = count * kind.itemsize
        _afford(size)
        if size < _LARGE:
            return torch.empty(shape, dtype=kind)
        # Large arrays all begin at the same place of a page, and streams that walk in step then meet in the same cache
        # sets and banks: each array starts a little further than the last (seen: 2 to 6 % of a copy).
        self._stagger = (self._stagger + 1) % 8
        start = self._stagger * _STAGGER // kind.itemsize
        whole = torch.empty(start + count, dtype=kind)
        _huge_pages(whole.data_ptr(), whole.numel() * kind.itemsize)
        array = whole[start:]
        self._touch(array)
        return array.view(shape)

    def _touch(self, array: Any) -> None:
        """Makes the pages exist, each near the thread that will use it: a first touch must not fall into a sample."""
        import torch

        words = array.view(torch.uint8)[: array.nbytes // 4096 * 4096].view(torch.float32)
        if self._compiler:
            cc.function(Kernel("stream", "write_plain", None, elements=1))(words, words.numel(), 1, 0.0)
        else:
            words.zero_()

    def random(self, *shape: int, dtype: str) -> Any:
        tensor, block = self.empty(*shape, dtype=dtype), self._block(dtype)
        flat = tensor.view(-1)
        for start in range(0, flat.numel(), _BLOCK):
            part = flat[start : start + _BLOCK]
            part.copy_(block[: part.numel()])
        return tensor

    def _block(self, dtype: str) -> Any:
        import torch

        if dtype not in self._blocks and dtype == "int8":
            self._blocks[dtype] = torch.randint(-128, 128, (_BLOCK,), dtype=torch.int8, generator=self._generator)
        elif dtype not in self._blocks:
            uniform = torch.empty(_BLOCK).uniform_(-1, 1, generator=self._generator)
            self._blocks[dtype] = uniform.to(torch_dtype(dtype))
        return self._blocks[dtype]

    def rotation(self, launch_bytes: float, cache: str) -> int:
        beyond = 4 * self.info.last_level
        if cache == "hot" or launch_bytes > beyond:
            return 1
        return min(_MAX_RING, math.ceil(beyond / launch_bytes) + 1)

    def host(self, *shape: int, dtype: str, memory: str) -> Any:
        raise Unsupported("the host has no link to itself")

    def duplex(self, one: Callable[[], Any], other: Callable[[], Any]) -> Callable[[], Any]:
        raise Unsupported("the host does one thing at a time")

    def load(self, kernel: Kernel) -> Callable[..., None]:
        if self._compiler:
            return cc.function(kernel)
        if kernel.function.endswith("_plain"):
            raise Unsupported("torch has one kind of store")
        if kernel.name == "chase":
            raise Unsupported("a pointer chase needs a C compiler: torch's own loop would be slower than any memory")
        return _twin(kernel)

    def begin(self, case: Case) -> None:
        self._next = 0

    def time(self, case: Case, launches: Sequence[Callable[[], Any]], count: int) -> Sample:
        # the ring goes on where the last sample stopped, or a short sample would always meet the same warm buffers
        ring, position = len(launches), self._next
        order = [launches[(position + i) % ring] for i in range(count)] if ring > 1 else [launches[0]] * count
        self._next = (position + count) % ring
        begun = time.perf_counter()
        for launch in order:
            launch()
        return Sample((time.perf_counter() - begun) / count)

    def telemetry(self) -> Mapping[str, Any]:
        """CPU seconds since boot: all work on these cores (busy), the hypervisor's (steal), this process's (own)."""
        own = os.times()
        counters = {"own_s": own.user + own.system}
        mine = {f"cpu{cpu}" for cpu in CORES}
        lines = [line.split() for line in host.text("/proc/stat").splitlines()]
        rows = [[int(ticks) for ticks in words[1:9]] for words in lines if words and words[0] in mine]
        if lines:  # user, nice, system, idle, iowait, irq, softirq, steal
            counters["busy_s"] = sum(sum(row[:3]) + sum(row[5:7]) for row in rows) / _TICK
            counters["steal_s"] = sum(row[7] for row in rows) / _TICK
        return counters

    def watch(self) -> AbstractContextManager[dict[str, Any]]:
        return nullcontext({})  # a thread that looked would take the time that it looks at

    def judge(self, telemetry: Mapping[str, Any], elapsed: float) -> tuple[str, tuple[str, ...]]:
        before, after = telemetry["before"], telemetry["after"]
        if "busy_s" not in before or "busy_s" not in after:
            return "valid", ()
        cores = len(CORES)
        grown = {name: after[name] - before[name] for name in before}
        # one tick per core is the counters' resolution; a group of ranks shares the cores, so its peers are not foreign
        allowed = max(0.05 * elapsed * cores, 2 * cores / _TICK)
        takers = {"the hypervisor": grown["steal_s"], "other processes": grown["busy_s"] - grown["own_s"] * self.world}
        shares = {who: 100 * seconds / elapsed / cores for who, seconds in takers.items() if seconds > allowed}
        reasons = tuple(f"{who} took {percent:.0f} % of the cores' time" for who, percent in shares.items())
        return ("suspect" if reasons else "valid"), reasons


def _twin(kernel: Kernel) -> Callable[..., None]:
    """A kernel's torch twin as its launch. A twin goes over a working set once, so passes become repeated calls."""

    def launch(*arguments: Any) -> None:
        if kernel.name != "stream":
            kernel.twin(*arguments)
            return
        passes = kernel.elements + 1
        once = (*arguments[:passes], 1, *arguments[passes + 1 :])
        for _ in range(arguments[passes]):
            kernel.twin(*once)

    return launch


def slug(text: str) -> str:
    """A folder name: lower case, words joined by dashes."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def _huge_pages(address: int, size: int) -> None:
    """Asks for huge pages, where the system leaves that to the program: fewer faults and TLB misses. No promise."""
    madvise, hugepage, page = getattr(ctypes.CDLL(None), "madvise", None), 14, 4096
    if madvise:
        begin = -(-address // page) * page
        madvise(ctypes.c_void_p(begin), ctypes.c_size_t(address + size - begin), hugepage)


def _afford(size: float) -> None:
    # Linux grants more than it has and kills whoever touches it; small buffers are not worth the look
    if size > 64 << 20 and size > 0.8 * (free := host.memory_available() or host.memory_total()):
        raise OutOfMemory(f"out of memory: a buffer of {size / 2**30:.1f} GiB, {free / 2**30:.1f} GiB available")


def open_cpu(seed: int = 0, rank: int = 0, world: int = 1) -> CpuDevice:
    """Raises DeviceError where the host cannot be measured (no torch, no word of its memory)."""
    if not host.memory_total():
        untold = "this system does not tell how much memory it has, so its CPU cannot be measured"
        raise DeviceError(f"{untold}: use Linux; Runs can be read and reported here")
    try:
        return CpuDevice(seed, rank, world)
    except ImportError as error:
        raise DeviceError(f"measuring needs torch: {error}. Install ridgepoint with its dependencies.") from None
