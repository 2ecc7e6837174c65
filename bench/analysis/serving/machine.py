"""A machine that serves: seconds of one operation from its roofs, its measured curves and what a launch costs.

Where a curve was measured, seconds = roof time / utilisation, and the launch is inside it. Where none was, seconds =
roof time / typical efficiency + launch overhead, and the number says `assumed`. A datasheet's machine has efficiency 1:
its numbers are `formula`, the best that could be.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from bench.analysis.serving import ServingError, formulas
from bench.analysis.serving.curves import Curve, Messages, Surface, length
from bench.analysis.serving.efficiency_curves import Curves
from bench.roofline import MissingRoof, Roof, Roofline
from bench.transformer import Operation

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
# Caches of 16 bits or more, as that of the attention probe.
_WIDE = ("bf16", "fp16", "fp32")
# Where on its curve an operation of a kind is read, from its params: of what has none over its bytes.
PLACES: Mapping[str, Callable[[Mapping[str, Any]], tuple[float, ...]]] = {
    "gemm": lambda params: (params["m"],),
    "experts": lambda params: (params["tokens"],),
    "attention decode": lambda params: (params["batch"] * params["kv_heads"], params["keys"]),
    "attention prefill": lambda params: (length(params["queries"], params["keys"]),),
}


def least_sure(origins: Iterable[str], none: str = FORMULA) -> str:
    """Where a number comes from that mixes several; `none` where it mixes nothing."""
    return max(origins, key=PROVENANCE.index, default=none)


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


@dataclass(frozen=True)
class Look:
    """What an operation is timed by, however much it asks: Machine.seconds and the page's evaluator.js compute with it.

    roof: it multiplies under (None without arithmetic), or a collective's link. curve: its utilisation as it was
    measured, which says itself how it goes on beyond its points, or a collective's seconds; `times` as long here.
    shaped: it is of that very shape, so that it knows the start. Without a curve: up, down, the shares of the compute
    and memory roofs that such kernels reach; lines: a collective's (start, seconds per byte), of which the least holds.
    """

    roof: Roof | None
    origin: str
    curve: Curve | Surface | Messages | None = None
    shaped: bool = True
    times: float = 1.0
    up: float = 1.0
    down: float = 1.0
    lines: tuple[tuple[float, float], ...] = ()

    @property
    def range(self) -> tuple[float, float] | None:
        """The places from and to which it was measured; None where nothing was."""
        return self.curve and (math.exp(self.curve.xs[0]), math.exp(self.curve.xs[-1]))


def scaled(measured: int, ranks: int) -> float:
    """What an all-reduce among `ranks` takes over one among those it was measured with: by the steps of a tree for more
    of them, by the bytes on the bus for fewer.
    """
    if ranks > measured:
        return formulas.tree_steps(ranks) / formulas.tree_steps(measured)
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

    @property
    def device_start(self) -> float:
        """Seconds of that which a device cannot do without, whoever launches."""
        return min(self.start, self.launch["graph"])

    @property
    def link(self) -> float:
        """B/s to another device, one way; the host link's where none is known, and then it says so in `notes`."""
        for key in ("link", "fabric", "h2d"):
            if roof := self.roofline.find(key):
                return roof.rate
        # nothing known: a link a tenth as fast as the memory, as NVLink is
        return self.bandwidth / 10

    def compute(self, dtype: str, variant: str = "") -> tuple[Roof, bool]:
        """(the roof under which operands of a dtype are multiplied, whether it is that dtype's own)."""
        if ("", dtype, variant) not in self._seen:
            self._seen["", dtype, variant] = self._roof(dtype, variant)
        return self._seen["", dtype, variant]

    def _roof(self, dtype: str, variant: str) -> tuple[Roof, bool]:
        for operand in (dtype, *_WIDER.get(dtype, ())):
            for unit in ("tensor", "vector"):
                # what is served, before what a loop of instructions reaches; float8 as serving runs it
                quick = variant or ("fast_accum" if operand.startswith("float8") else "")
                named = [f"{unit}.{operand}.{quick}"] if quick else []
                for key in (*named, f"{unit}.{operand}.library", f"{unit}.{operand}"):
                    if roof := self.roofline.find(key):
                        return roof, operand == dtype
        raise MissingRoof(f"{self.name} has no compute roof for {dtype}: run the peak probe, or give one in the file")

    def seconds(self, operation: Operation) -> KernelTime:
        """One launch of an operation."""
        work = operation.work
        key = (operation.name, work.flops, work.bytes, *operation.params.values())
        if key not in self._seen:
            self._seen[key] = self._timed(self.look(operation), operation)
        return self._seen[key]

    def _timed(self, look: Look, operation: Operation) -> KernelTime:
        work = operation.work
        if operation.kind == "collective":
            size = float(operation.params["bytes"])
            lines = (start + each * size for start, each in look.lines)
            seconds = look.curve(size) * look.times if look.curve else min(lines)
            return KernelTime(seconds, 0.0, COMMUNICATION, look.roof.key, look.origin)
        compute, memory = work.flops / look.roof.rate if look.roof else 0.0, work.bytes / self.bandwidth
        bound = COMPUTE if compute / look.up > memory / look.down else MEMORY
        # which roof is nearest is said by the roofs alone, what binds with the typical shares
        limit = look.roof.key if compute > memory else "dram"
        ideal, fixed = max(compute, memory), self.device_start
        seconds = max(compute / look.up, memory / look.down) + fixed
        if look.curve:
            place = PLACES[operation.kind](operation.params) if operation.kind in PLACES else (work.bytes,)
            seconds = ideal / look.curve(*(max(1.0, x) for x in place))
            if not look.shaped:
                # a curve of another shape cannot know what a smaller one pays to start
                seconds = max(seconds, ideal + fixed)
            fixed = min(fixed, seconds - ideal)
        if seconds < self.start:
            # curves hold device time alone: a host that launches one by one is waited for where it is slower
            fixed, seconds = fixed + self.start - seconds, self.start
        return KernelTime(seconds, fixed, bound, limit, look.origin, compute, memory)

    def look(self, operation: Operation) -> Look:
        """What an operation is timed by here; the one place that decides it."""
        if operation.kind == "collective":
            return self._collective(operation.params)
        work = operation.work
        roof, own = self.compute(work.dtype, work.variant) if work.flops else (None, True)
        if found := self._curve(operation, roof, own):
            curve, shaped, sure = found
            return Look(roof, self.origin if sure else ASSUMED, curve, shaped)
        up, down = self.typical.get(operation.kind, (1.0, 1.0))
        if work.variant and roof and work.variant in roof.key:
            up = 1.0  # this kind's own roof was stated
        origins = self.typical_origin, self.launch_origin, self.origin
        return Look(roof, least_sure(origins) if own else ASSUMED, up=up, down=down)

    def _curve(self, operation: Operation, roof: Roof | None, own: bool) -> tuple[Curve | Surface, bool, bool] | None:
        """(the curve that an operation's utilisation is read from, whether it is of that very shape, whether of those
        very formats and dimensions); None where nothing like it was measured.
        """
        kind, params, curves = operation.kind, operation.params, self.curves
        wide = params.get("kv", "bf16") in _WIDE
        if kind == "gemm" and params.get("matrices", 1) == 1:
            # where the unit lacks a dtype products are widened: that kernel was measured, or else the wide one was
            dtype = self.compute(params["dtype"])[0].key.dtype
            exact = curves.gemm.get((params["weights"], dtype))
            if products := exact or next((each for (_, math_), each in curves.gemm.items() if math_ == dtype), None):
                line, known = products.nearest(shape := (params["n"], params["k"]))
                return line, known == shape, exact is not None
        elif kind == "attention decode":
            shape = params["heads"] / params["kv_heads"], params["head_dim"]
            # a narrow cache is no faster than it was measured to be: where its own kernel was, that one is taken
            narrow = curves.narrow.get(params.get("kv", ""))
            if narrow and (near := narrow.nearest(shape))[1][1] == shape[1]:
                return near[0], True, own
            if curves.decode:
                plane, known = curves.decode.nearest(shape)
                return plane, True, own and wide and known[1] == shape[1]
        elif kind == "attention prefill" and curves.prefill:
            line, (head_dim,) = curves.prefill.nearest((params["head_dim"],))
            return line, True, own and wide and head_dim == params["head_dim"]
        elif kind == "experts" and curves.experts:
            line, _ = curves.experts.nearest((params["experts"], params["active"]))
            return line, True, own and params["weights"] in ("bf16", "fp16")
        elif kind == "stream":
            named = (line for name, line in curves.named.items() if operation.name.startswith(name))
            line = next(named, curves.stream)
            return (line, True, True) if line else None
        return None

    def _collective(self, params: Mapping[str, Any]) -> Look:
        """A measured all-reduce's curve; of what was not measured a latency and a rate.

        A library's small messages climb a tree, so its latency grows with log2 of the ranks; a hand-written one reads
        from all at once and does not. Large messages take what the bus allows.
        """
        ranks, kind, link = int(params["ranks"]), params.get("collective", "all_reduce"), Roof("link", self.link)
        if ranks < 2:
            return Look(link, self.origin, lines=((0.0, 0.0),))
        if kind == "all_reduce" and (measured := self.messages(ranks)):
            alike = measured.ranks == ranks and measured.mode == self.mode
            return Look(link, self.origin if alike else ASSUMED, measured, times=scaled(measured.ranks, ranks))
        rate, alpha = self.bus or BUS * self.link, self.latency[self.collective]
        shared = (2 if kind == "all_reduce" else 1) * (ranks - 1) / ranks / rate
        if kind == "all_to_all":
            lines = ((alpha, 1 / rate),)
        elif kind == "send":
            lines = ((alpha / 2, 1 / rate),)
        elif self.collective == "library":
            lines = ((alpha * formulas.tree_steps(ranks) / formulas.tree_steps(8), shared),)
        else:
            lines = ((alpha, (ranks - 1) / rate), (2 * alpha, shared))
        return Look(link, ASSUMED, lines=lines)

    def messages(self, ranks: int) -> Messages | None:
        """The measured all-reduce curve of the number of ranks nearest to that, in the mode in use if there is one."""
        near = {each: (abs(math.log(each.ranks / ranks)), each.mode != self.mode) for each in self.curves.reduce}
        return min(near, key=near.get, default=None)
