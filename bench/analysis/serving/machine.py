"""A machine that serves: seconds of one operation from its roofs, its measured curves and what a launch costs.

Where a curve was measured, seconds = roof time / utilisation, and the launch is inside it. Where none was, seconds =
roof time / typical efficiency + launch overhead, and the number says `assumed`. A datasheet's machine has efficiency 1:
its numbers are `formula`, the best that could be.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from bench.analysis.serving import formulas
from bench.analysis.serving.curves import Messages, length
from bench.analysis.serving.efficiency_curves import Curves, wide
from bench.analysis.serving.errors import ServingError
from bench.roofline import MissingRoof, Roof, Roofline
from bench.work import Work

MEASURED, FORMULA, ASSUMED = "measured", "formula", "assumed"
# From the surest to the least sure: what mixes several is as sure as the last of them.
PROVENANCE = (MEASURED, FORMULA, ASSUMED)
MEMORY, COMPUTE, FIXED, COMMUNICATION = "memory", "compute", "fixed", "communication"

# Shares of a measured roof that kernels of a kind reach at large sizes, where their own curve was not measured: the
# middle of public operator tables of A100, H100 and H200 SXM (aiconfigurator, Apache-2.0) over the read and GEMM roofs
# that others measured of the same GPUs. (compute, memory).
TYPICAL: Mapping[str, tuple[float, float]] = {
    "gemm": (1.0, 0.90),  # weight streaming: A100 0.80-0.98, H100 0.86-0.92, H200 0.84-0.97
    "experts": (1.0, 0.90),
    "attention decode": (1.0, 0.93),  # A100 0.94, H100 0.92-0.96, H200 0.88-0.91
    "attention prefill": (0.76, 1.0),  # 16k causal: A100 0.66, H100 0.81, H200 0.80
    "stream": (1.0, 0.90),  # copy over read: 0.90-0.92
}
# Seconds to start one kernel where no launch was measured: as a node of a graph (public: 2 to 3 us between dependent
# kernels), and by a host that queues them.
LAUNCH = {"graph": 3e-6, "eager": 6e-6}
# Latency (s) of the smallest all-reduce where none was measured: library and hand-written in a graph, of 8 ranks.
LATENCY = {"library": 17e-6, "custom": 5e-6}
# What of a link's rate a large all-reduce keeps on its bus, where none was measured.
BUS = 0.9
# Operands that a unit multiplies where it lacks the dtype asked for, nearest first.
_WIDER = {
    # without a unit of its own FP4 is stored and widened: no 8-bit unit multiplies it
    "float4": ("bfloat16", "float16", "float32"),
    "int8": ("bfloat16", "float16", "float32"),
    "float8_e4m3": ("bfloat16", "float16", "float32"),
    "bfloat16": ("float16", "float32"),
    "float16": ("bfloat16", "float32"),
}


@dataclass(frozen=True)
class KernelTime:
    """One launch. seconds = busy + fixed; busy belongs to `label`. limit: the key of the roof that binds it.

    label "fixed" where starting takes longer than working; `bound` is then still the resource that the work waits for.
    compute, memory: seconds that the roofs alone ask, without efficiency or start.
    """

    seconds: float
    fixed: float
    bound: str
    limit: str
    origin: str
    compute: float = 0.0
    memory: float = 0.0

    @property
    def busy(self) -> float:
        return self.seconds - self.fixed

    @property
    def label(self) -> str:
        return FIXED if self.fixed > self.busy else self.bound

    @property
    def share(self) -> float:
        """The share of the time that is fixed overhead."""
        return self.fixed / self.seconds if self.seconds else 0.0


class Reading(NamedTuple):
    """Where an operation's utilisation is read: a curve and the place on it. shaped: it is of that very shape, so that
    it knows the start; sure: it is of those very formats and dimensions.
    """

    curve: Any
    at: tuple[float, ...]
    shaped: bool
    sure: bool


def scaled(measured: int, ranks: int) -> float:
    """What an all-reduce among `ranks` takes over one among those it was measured with: by the steps of a tree for more
    of them, by the bytes on the bus for fewer.
    """
    if ranks > measured:
        return formulas.tree(0, ranks, 1, 1) / formulas.tree(0, measured, 1, 1)
    return (1 - 1 / ranks) / (1 - 1 / measured)


class ErrorRange(NamedTuple):
    """The smallest and the largest error (predicted over measured less 1) of so many checked layers.

    Where all were off to the same side the prediction still stands: it is one end of the bar.
    """

    low: float
    high: float
    points: int = 0

    def bar(self, seconds: float) -> tuple[float, float]:
        """Seconds between which what is predicted to take `seconds` may lie."""
        return seconds / (1 + max(0.0, self.high)), seconds / (1 + min(0.0, self.low))


@dataclass(frozen=True)
class Machine:
    """One device (or `most` equal ones), ready for questions. memory_bytes: of one device.

    launch: mode -> seconds per kernel; mode: the one in use; host: seconds per step that the device waits for the host.
    collective: "library" or "custom", which latency is assumed where no all-reduce was measured. typical: what stands
    in for missing curves. quantising: rows are made narrow by the operation before ("fused") or by a "kernel" of its
    own, as some engines do. notes: what is measured, formula or assumed, in words. watts: mean power under memory load
    and under compute load, where measured. partial: probes to run for what is assumed. errors: phase of a step -> how
    far off a real layer was; answers get their bar from it and are not corrected. reserve: bytes of the memory that are
    never free, where they were counted.
    """

    name: str
    origin: str
    memory_bytes: float
    roofline: Roofline
    curves: Curves = field(default_factory=Curves)
    launch: Mapping[str, float] = field(default_factory=lambda: dict(LAUNCH), hash=False)
    launch_origin: str = ASSUMED
    mode: str = "graph"
    host: float = 0.0
    collective: str = "custom"
    latency: Mapping[str, float] = field(default_factory=lambda: dict(LATENCY), hash=False)
    bus: float = 0.0
    typical: Mapping[str, tuple[float, float]] = field(default_factory=lambda: dict(TYPICAL), hash=False)
    typical_origin: str = ASSUMED
    quantising: str = "fused"
    watts: Mapping[str, float] = field(default_factory=dict, hash=False)
    notes: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    errors: Mapping[str, ErrorRange] = field(default_factory=dict, hash=False)
    reserve: float = 0.0
    simulated: bool = False

    def __post_init__(self):
        if self.quantising not in ("fused", "kernel"):
            raise ServingError(f"rows are made narrow 'fused' or by a 'kernel', not {self.quantising!r}")
        if self.collective not in self.latency:
            raise ServingError(f"unknown kind of collective {self.collective!r}; take {' or '.join(self.latency)}")
        if not (self.host >= 0 and math.isfinite(self.host)):
            raise ServingError(f"the host's time per step must be 0 or more, not {self.host:g}")
        if self.mode not in self.launch:
            raise ServingError(f"unknown launch mode {self.mode!r}; this machine has {', '.join(self.launch)}")
        object.__setattr__(self, "_seen", {})

    def using(self, **changes: Any) -> "Machine":
        """The same machine launched otherwise, or with another host time."""
        return replace(self, **changes)

    @cached_property
    def bandwidth(self) -> float:
        """The memory roof, B/s."""
        return self.roofline.roof("dram").rate

    @property
    def start(self) -> float:
        """Seconds to start one kernel in the mode in use."""
        return self.launch[self.mode]

    def compute(self, dtype: str, variant: str = "") -> tuple[Roof, bool]:
        """(the roof under which operands of a dtype are multiplied, whether it is that dtype's own)."""
        if ("", dtype, variant) not in self._seen:
            self._seen["", dtype, variant] = self._roof(dtype, variant)
        return self._seen["", dtype, variant]

    def _roof(self, dtype: str, variant: str) -> tuple[Roof, bool]:
        for each in (dtype, *_WIDER.get(dtype, ())):
            for unit in ("tensor", "vector"):
                # what is served, before what a loop of instructions reaches; float8 as serving runs it
                quick = variant or ("fast_accum" if each.startswith("float8") else "")
                named = [f"{unit}.{each}.{quick}"] if quick else []
                for key in (*named, f"{unit}.{each}.library", f"{unit}.{each}"):
                    if roof := self.roofline.find(key):
                        return roof, each == dtype
        raise MissingRoof(f"{self.name} has no compute roof for {dtype}: run the peak probe, or give one in the file")

    def seconds(self, operation: Any) -> KernelTime:
        """One launch of an operation (bench.transformer.Operation)."""
        work = operation.work
        key = (operation.name, work.flops, work.bytes, *operation.params.values())
        found = self._seen.get(key)
        if found is None:
            found = self._seen[key] = self._timed(operation)
        return found

    def _timed(self, operation: Any) -> KernelTime:
        if operation.kind == "collective":
            return self._collective(operation)
        work = operation.work
        compute, limit, own = self._compute(work)
        stated = bool(work.variant) and work.variant in limit
        memory = work.bytes / self.bandwidth
        bound = COMPUTE if compute > memory else MEMORY
        limit = limit if bound == COMPUTE else "dram"
        ideal = max(compute, memory)
        reading = self.reading(operation)
        start = min(self.start, self.launch["graph"])
        if reading:
            seconds = ideal / reading.curve(*reading.at)
            if not reading.shaped:
                # a curve of another shape cannot know what a smaller one pays to start
                seconds = max(seconds, ideal + start)
            fixed = min(start, seconds - ideal)
            origin = self.origin if reading.sure else ASSUMED
        else:
            up, down = self.typical.get(operation.kind, (1.0, 1.0))
            up = 1.0 if stated else up
            fixed = start
            busy = max(compute / up, memory / down)
            bound = COMPUTE if compute / up > memory / down else MEMORY
            seconds = busy + fixed
            origin = max(self.typical_origin, self.launch_origin, self.origin, key=PROVENANCE.index) if own else ASSUMED
        if seconds < self.start:
            # curves hold device time alone: a host that launches one by one is waited for where it is slower
            fixed, seconds = fixed + self.start - seconds, self.start
        return KernelTime(seconds, fixed, bound, limit, origin, compute, memory)

    def _compute(self, work: Work) -> tuple[float, str, bool]:
        if not work.flops:
            return 0.0, "", True
        roof, own = self.compute(work.dtype, work.variant)
        return work.flops / roof.rate, roof.key, own

    def reading(self, operation: Any) -> "Reading | None":
        """What an operation's utilisation is read from; None where nothing like it was measured."""
        kind, params, curves = operation.kind, operation.params, self.curves
        own = not operation.work.flops or self.compute(operation.work.dtype, operation.work.variant)[1]
        if kind == "gemm" and params.get("matrices", 1) == 1:
            # where the unit lacks a dtype products are widened: that kernel was measured, or else the wide one was
            dtype = self.compute(params["dtype"])[0].key.dtype
            exact = curves.gemm.get((params["weights"], dtype))
            found = exact or next((each for (_, math_), each in curves.gemm.items() if math_ == dtype), None)
            if found:
                shape = (float(params["n"]), float(params["k"]))
                line, known = found.nearest(shape)
                return Reading(line, (params["m"],), known == shape, exact is not None)
        if kind == "attention decode" and (read := curves.decoding(params)):
            items, keys = params["batch"] * params["kv_heads"], max(1.0, params["keys"])
            return Reading(read[0], (items, keys), True, read[1] and own)
        if kind == "attention prefill" and curves.prefill:
            line, (head_dim,) = curves.prefill.nearest((float(params["head_dim"]),))
            sure = own and wide(params) and head_dim == params["head_dim"]
            return Reading(line, (max(1.0, length(params["queries"], params["keys"])),), True, sure)
        if kind == "experts" and curves.experts:
            line, _ = curves.experts.nearest((float(params["experts"]), float(params["active"])))
            return Reading(line, (max(1.0, params["tokens"]),), True, own and params["weights"] in ("bf16", "fp16"))
        if kind == "stream":
            line = next((curves.named[name] for name in curves.named if operation.name.startswith(name)), curves.stream)
            return Reading(line, (max(1.0, operation.work.bytes),), True, True) if line else None
        return None

    def _collective(self, operation: Any) -> KernelTime:
        size, ranks = float(operation.params["bytes"]), int(operation.params["ranks"])
        if ranks < 2:
            return KernelTime(0.0, 0.0, COMMUNICATION, "link", self.origin)
        measured = self.messages(ranks)
        if measured and operation.params.get("collective", "all_reduce") == "all_reduce":
            origin = self.origin if measured.ranks == ranks and measured.mode == self.mode else ASSUMED
            return KernelTime(measured(size) * scaled(measured.ranks, ranks), 0.0, COMMUNICATION, "link", origin)
        return KernelTime(self.assumed_message(size, ranks, operation.params), 0.0, COMMUNICATION, "link", ASSUMED)

    def messages(self, ranks: int) -> Messages | None:
        """The measured all-reduce curve of the number of ranks nearest to that, in the mode in use if there is one."""
        near = {each: (abs(math.log(each.ranks / ranks)), each.mode != self.mode) for each in self.curves.reduce}
        return min(near, key=near.get, default=None)

    def assumed_message(self, size: float, ranks: int, params: Mapping[str, Any] | None = None) -> float:
        """Seconds of a collective that was not measured, from a latency and a rate.

        A library's small messages climb a tree, so its latency grows with log2 of the ranks; a hand-written one reads
        from all at once and does not. Large messages take what the bus allows.
        """
        rate = self.bus or BUS * self.link
        kind = (params or {}).get("collective", "all_reduce")
        if kind == "all_to_all":
            return self.latency[self.collective] + size / rate
        if kind == "send":
            return self.latency[self.collective] / 2 + size / rate
        shared = 2 * (ranks - 1) / ranks * size / rate
        if kind == "all_gather":
            shared /= 2
        alpha = self.latency[self.collective]
        if self.collective == "library":
            return alpha * formulas.tree(0, ranks, 1, 1) / formulas.tree(0, 8, 1, 1) + shared
        return min(alpha + (ranks - 1) * size / rate, 2 * alpha + shared)

    @property
    def link(self) -> float:
        """B/s to another device, one way; the host link's where none is known, and then it says so in `notes`."""
        for key in ("link", "fabric", "h2d"):
            if roof := self.roofline.find(key):
                return roof.rate
        # nothing known: a link a tenth as fast as the memory, as NVLink is
        return self.bandwidth / 10
