"""The words that cross from the lab to the desk: what was asked, what was measured, on what, in which Run.

Work is declared, rates are derived and raw seconds are kept: no rate is ever stored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

from bench.work import RoofKey, Work

SCHEMA = "ridgepoint.run"
MAJOR, MINOR = 1, 4

# Repetition 0 belongs to the first pass over the probes, 1 to a search's winner within that pass; from here on rounds.
FIRST_ROUND = 2
# From here on re-measurements of what a gate found suspect, the first of them a warm-up: they state no roof, or being
# slow would earn more chances.
CONFIRM = 1000

# A case is (probe, version, params); the params are plain values, in the order the probe gave them.
Key = tuple[str, int, tuple[tuple[str, Any], ...]]
# The regime after the clock has settled under load; a repetition is numbered within its regime.
SUSTAINED = "sustained"
RepetitionKey = tuple[Key, bool, int]


@dataclass(frozen=True)
class Cache:
    """One cache level, over the whole device: all L1s added up, the share of the last level that this device has."""

    name: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class TensorLoop:
    """A loop of one tensor instruction on tiles that stay in registers or shared memory: C[m, n] += A[m, k] B[k, n]."""

    source: str  # kernels/SOURCE.cu
    function: str
    instruction: str  # as its vendor writes it
    m: int
    n: int
    k: int
    threads: int  # that own a tile
    tiles: int  # on the device at once
    out: str = "float32"  # the dtype of C
    shared: int = 0  # bytes of shared memory per block
    saturates: bool = True  # the full rate path of its chip, so that it may claim the roof


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """What probes may know of a device. They never ask which backend it is; what only some devices have is empty."""

    id: str  # "cpu", "cuda:0", "sim:h200-sxm:0"
    name: str
    product: str  # its folder under results/
    sku: str = ""  # key into theory, "" if unknown
    uuid: str = ""
    memory_bytes: int
    caches: tuple[Cache, ...]  # from the smallest to the last level
    units: Mapping[str, str]  # matmul dtype -> "tensor" or "vector", for the dtypes that it can multiply
    loops: Mapping[str, int]  # vector dtype -> accumulators that saturate its FMA pipes
    stores: tuple[str, ...] = ("default",)  # kinds of store that differ here, the roof's own first
    algorithms: tuple[str, ...] = ()  # of all-reduce, of which "ring" saturates `link`
    ranks: int = 1  # processes that can talk to one another
    regime: str = "burst"  # "steady" where no other follows
    simulated: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)  # worth printing: driver, compiler, assumptions
    sms: int = 0  # multiprocessors
    tensor_loops: Mapping[str, tuple[TensorLoop, ...]] = field(default_factory=dict)  # by dtype, the roof's own first
    lacking: Mapping[str, str] = field(default_factory=dict)  # dtype that it multiplies -> why it has no tensor loop
    # kernel -> preprocessor name -> values to search over, the default first
    tuning: Mapping[str, Mapping[str, tuple[int | str, ...]]] = field(default_factory=dict)
    ladders: tuple[str, ...] = ("float32",)  # dtypes of the FMA ladder
    onchip: Mapping[str, int] = field(default_factory=dict)  # channel -> bytes that only one multiprocessor can reach
    host_memory: tuple[str, ...] = ()  # kinds of it to copy from and to
    launches: tuple[str, ...] = ()  # ways to launch
    attention: tuple[str, ...] = ()  # backends of SDPA
    root: str = ""  # the PCIe root that its host link hangs on, "" where that is not known
    company: str = ""  # who else is on shared host links meanwhile: "" for nobody on this root, "all" for all devices

    @property
    def last_level(self) -> int:
        return self.caches[-1].bytes if self.caches else 0

    @property
    def headline(self) -> RoofKey:
        """The headline ridge's compute roof: bfloat16 tensor GEMM (float16 before Ampere), else the float32 loop."""
        for dtype in ("bfloat16", "float16"):
            if self.units.get(dtype) == "tensor":
                return RoofKey.of("tensor", dtype, method="library")
        return RoofKey("vector.float32.loop")

    def level(self, footprint: int) -> str:
        """The channel whose roof stands over a working set re-read in place: the smallest cache that still serves it.

        A cache goes on serving part of a set larger than itself: twice its size for an inner level, four times for the
        last one. Only beyond is every byte the next level's.
        """
        for cache in self.caches[:-1]:
            if footprint <= 2 * cache.bytes:
                return cache.name
        return self.caches[-1].name if self.caches and footprint <= 4 * self.last_level else "dram"


class Kept(partial):
    """A launch whose result the library allocates: it holds the last one until it has the next.

    An allocator hands out what was freed last. Let go at once, a result would be written into the same block by every
    launch of a ring, which stays in the cache; held, a block comes back when the ring has gone round. So it is while a
    graph is captured too, from whose pool the next node would otherwise take the block of the one before.
    """

    def __call__(self) -> Any:
        self.result = super().__call__()
        return self.result


@dataclass(frozen=True)
class Setup:
    """A case made ready: equivalent launches on distinct buffers, and an untimed check of the result.

    launches: functools.partial over live tensors, never lambdas, so that an audit can see what a launch touches. A cold
    case's outputs rotate as its inputs do: each launch writes to its own, or is Kept. What passes between the kernels
    of one launch is read at once by the next of them and may be as hot as it is in real use.
    """

    launches: Sequence[Callable[[], Any]]
    check: Callable[[], None] | None = None  # raises CheckFailed
    notes: Mapping[str, str] = field(default_factory=dict)  # what only shows now: the backend, a chosen algorithm


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing to measure. `prepare(device)` allocates; describing a case never does."""

    params: Mapping[str, Any]
    work: Work
    prepare: Callable[[Any], Setup] | None = None
    saturates: str = ""  # the roof that it may claim; it is then repeated with fresh buffers later in the Run
    repeat: bool = False  # repeated likewise without a claim (the rungs of the ladder)
    search: str = ""  # the roof for which it competes; the fastest is yielded again, with `saturates`
    cache: str = "cold"  # launches rotate through over four last-level caches (too few: the record says hot), or "hot"
    regime: str = ""
    skip: str = ""  # why it is left out
    batch: int = 1  # launches that one sample has at least
    samples: int = 0  # at least so many, one launch each (the tail of small collectives)
    family: str = ""  # cases that predict each other's time, by default those of one probe
    # "" keeps the host out of the time. Where the host is the question, "synchronous" waits for each launch by the
    # host's clock, "back to back" queues them freely, "graph" replays them as one. "queued" keeps the host out without
    # a graph: for launches whose capture once broke a process.
    timing: str = ""

    @property
    def repeated(self) -> bool:
        return bool(self.saturates or self.repeat)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One repetition of one case: raw seconds per launch in order, and everything needed to judge them."""

    probe: str
    version: int
    device: str
    params: Mapping[str, Any]
    work: Work
    devices: tuple[str, ...] = ()  # more than one for a collective
    saturates: str = ""
    cache: str = "cold"
    regime: str = ""
    repetition: int = 0
    seconds: tuple[float, ...] = ()  # a value per sample, the mean of its launches
    launches: int = 0  # of a sample
    clock_hz: tuple[float, ...] = ()  # mean of each sample, where the device can tell
    started: str = ""  # UTC
    elapsed: float = 0.0
    stop_reason: str = ""
    dropped: tuple[tuple[float, str], ...] = ()  # (seconds, cause) of samples left out for a physical cause
    validity: str = "valid"  # or "suspect", "invalid", with reasons
    reasons: tuple[str, ...] = ()
    skip: str = ""  # why nothing was measured
    notes: Mapping[str, str] = field(default_factory=dict)
    telemetry: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        return case_key(self.probe, self.version, self.params)

    @property
    def repetition_key(self) -> RepetitionKey:
        """Which of the case's repetitions this is, within a Run."""
        return self.key, self.regime == SUSTAINED, self.repetition

    @property
    def median(self) -> float:
        """Median seconds per launch; raises statistics.StatisticsError where nothing was measured."""
        return median(self.seconds)

    @property
    def usable(self) -> bool:
        return bool(self.seconds) and not self.skip and self.validity != "invalid"


@dataclass(frozen=True)
class ProbeText:
    """What a page says of a probe without knowing it: its title, the question it answers, how its work is counted."""

    title: str = ""
    question: str = ""
    formula: str = ""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where, when, with what and by which command a Run was made."""

    suite: str
    run_id: str
    started: str
    command: tuple[str, ...]
    budget: str
    seed: int
    product: str
    simulated: bool
    devices: tuple[DeviceInfo, ...]
    host: str = ""
    commit: str = ""
    system: Mapping[str, str] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    redacted: bool = False
    probes: Mapping[str, ProbeText] = field(default_factory=dict)  # by name; empty in Runs before 1.3


# What came of a check; NOT_AVAILABLE says that it could not be tried, which is no failure.
PASS, FAIL, NOT_AVAILABLE = "pass", "fail", "not available"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One assumption of the instrument, as it was tried on a device (measure/verify)."""

    name: str  # group and assumption: "time.linear"
    device: str
    proves: str  # what holds where it passes
    expected: str  # what should be seen, for people
    state: str  # PASS, FAIL or NOT_AVAILABLE
    value: str = ""  # what was seen, for people
    reason: str = ""  # why it failed or was not available
    fix: str = ""  # what to do about a failure
    elapsed: float = 0.0  # seconds that it took


@dataclass(frozen=True)
class Unreached:
    """Cases of a probe that a Run had no time for: so many `of` those that its budget would have liked to measure."""

    device: str
    probe: str  # "sustained": roofs that were not stated under lasting load
    cases: int
    of: int


@dataclass(frozen=True)
class End:
    """A Run's last line; a Run without one was cut short."""

    status: str
    exit_code: int
    finished: str
    elapsed: float = 0.0
    failures: tuple[str, ...] = ()
    unreached: tuple[Unreached, ...] = ()


@dataclass(frozen=True)
class Run:
    """One invocation on one machine."""

    environment: Environment
    measurements: tuple[Measurement, ...]
    end: End | None = None
    warnings: tuple[str, ...] = ()  # what the reader noticed: no end line, fields of a newer minor
    source: str = ""
    checks: tuple[Check, ...] = ()  # how the instrument was tried on these devices; empty before 1.2

    @property
    def complete(self) -> bool:
        return self.end is not None and self.end.status == "complete"

    def of(self, device: str) -> tuple[Measurement, ...]:
        return tuple(m for m in self.measurements if m.device == device)


def case_key(probe: str, version: int, params: Mapping[str, Any]) -> Key:
    return probe, version, tuple(params.items())
