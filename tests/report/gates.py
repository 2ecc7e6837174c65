"""Gates written by hand: every word, several GPUs, defects, nothing to compare with, times, and hostile names."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st

from bench.analysis.gate.expectations import Reference, compare, of_theory, usual
from bench.analysis.gate.metrics import Metric, Tolerance
from bench.analysis.gate.verdict import STATUSES, Gate, MetricVerdict
from bench.schema import CONFIRM, DeviceInfo, Measurement
from bench.work import Work
from tests.report.runs import by_hand, gpu, measured, rounds

TOLERANCE = Tolerance(warn=0.015, floor=0.02, siblings=0.05)
LATENCY = Tolerance(warn=0.10, floor=0.20, siblings=0.20, least=5e-7)
HOSTILE = "a|b `c` <d> & \"e\" 'f' @all #1 [g](h) \x00\x1b[31m\r\n::error::i=j \u202e\ud800 😀 ,%0A-->"

# Unit of the amount -> what is usual, in work or launches per second.
USUAL = {"bytes": 4.0e12, "flops": 8.0e14, "seconds": 2.0e5}


def metric(name: str = "memory.dram.read", amount: str = "bytes", gates: bool = True) -> Metric:
    domain = {"bytes": "memory", "flops": "library", "seconds": "latency"}[amount]
    tolerance = LATENCY if amount == "seconds" else TOLERANCE
    return Metric(name=name, domain=domain, probe="by hand", where={}, amount=amount, tolerance=tolerance, gates=gates)


def reference(of: Metric, kind: str = "baseline") -> Reference:
    return usual(kind, of, [USUAL[of.amount]], of.tolerance.floor, of.tolerance.least, "baseline of 2026-01-01")


def verdict(of: Metric, word: str = "ok", ratio: float | None = 1.0, device: str = "cuda:0", **more) -> MetricVerdict:
    """ratio: of speeds; None where nothing was measured."""
    against = more.pop("reference", reference(of))
    speed = None if ratio is None else ratio * USUAL[of.amount]
    comparisons = tuple(compare(speed, each) for each in (against, of_theory(1.2 * USUAL[of.amount])) if each and speed)
    fields = {
        "why": f"the evidence of {word}",
        "gates": of.gates,
        "tolerance": of.tolerance,
        "pin": (("by hand", 1, (("case", of.name), ("size", 4096))), False),
        "speed": speed,
        "n": 0 if speed is None else 3,
        "spread": None if speed is None else 0.004,
        "reference": against,
        "comparisons": comparisons,
        "cause": "" if word in ("ok", "improved") else "memory",
    }
    return MetricVerdict(metric=of, device=device, status=word, **fields | more)


def gpus(count: int) -> list[DeviceInfo]:
    return [gpu(id=f"cuda:{i}", uuid=f"GPU-{i}") for i in range(count)]


def gate(
    *verdicts: MetricVerdict, devices: int = 1, measurements: tuple[Measurement, ...] = (), about=None, **more
) -> Gate:
    infos = tuple(gpus(devices))
    run = by_hand(measurements, infos[0], **{"devices": infos, "product": f"h200-sxm-x{devices}"} | (about or {}))
    fields = {"references": {info.id: "baseline of 2026-01-01" for info in infos}}
    return Gate(run, verdicts, **fields | more)


def fine() -> Gate:
    return gate(
        verdict(metric()), verdict(metric("gemm.bfloat16", "flops")), verdict(metric("launch.async", "seconds"))
    )


RATIOS = {"regressed": 0.95, "missing": None, "inconclusive": 0.96, "suspicious": 0.97, "improved": 1.05}


def every_word() -> Gate:
    """One gated metric for each word, and one that only warns."""
    found = [verdict(metric(f"memory.{word}"), word, RATIOS.get(word, 1.0)) for word in STATUSES]
    found.append(verdict(metric("vector.int8.loop", "flops", gates=False), "suspicious", 0.90))
    return gate(*found, notes=("cuda:0: a new segment: driver 580 → 590",))


def node() -> Gate:
    """Eight GPUs with a dozen gated metrics each; one is slow, one is broken, and fast."""
    found = []
    for device in (f"cuda:{i}" for i in range(8)):
        for i in range(12):
            slow = device == "cuda:3" and i < 2
            one = metric(f"memory.dram.{i}") if i else metric("gemm.bfloat16.sustained", "flops")
            found.append(verdict(one, *(("regressed", 0.95) if slow else ("ok", 1.0)), device))
    return gate(*found, devices=8, defects=(("cuda:5", "uncorrectable memory errors while measuring"),))


def no_reference() -> Gate:
    one = metric()
    return gate(
        verdict(one, reference=None, why="nothing to compare with yet"),
        references={"cuda:0": "its siblings and its datasheet only"},
        no_reference=True,
    )


def slow_launch() -> Gate:
    """A time of 5 µs that became 6.25: a quarter longer, a fifth slower."""
    return gate(verdict(metric("launch.async", "seconds"), "regressed", 0.8))


def simulated() -> Gate:
    found = fine()
    environment = replace(found.run.environment, simulated=True)
    return replace(found, run=replace(found.run, environment=environment))


def hostile(text: str = HOSTILE, word: str = "regressed") -> Gate:
    """Every string that a Run or a driver could have chosen tries to be markup."""
    one = metric(text)
    found = [verdict(one, word, 0.9, text, why=text, cause=text), verdict(replace(one, gates=False), word, 0.9)]
    # by_hand goes through the file format, which refuses some of this; what is in memory may be anything
    made = gate(*found, defects=((text, text),), notes=(text,), references={"cuda:0": text})
    environment = replace(made.run.environment, product=text, host=text, command=(text,), suite=text, commit=text)
    return replace(made, run=replace(made.run, environment=environment, source=text))


def launched() -> Gate:
    """Verdicts with the raw seconds that they rest on: rounds of one metric, re-measurements of the other."""
    found = []
    bandwidth, launch = metric(), metric("launch.async", "seconds")
    case = {"case": bandwidth.name, "size": 4096}
    found += rounds("by hand", case, Work(bytes=4.0e9), 1e-3, 3, device="cuda:0", elapsed=0.25)
    found.append(
        measured("by hand", case, Work(bytes=4.0e9), (9e-3,) * 6, repetition=9, device="cuda:0", validity="invalid")
    )
    case = {"case": launch.name, "size": 4096}
    found += rounds("by hand", case, Work(), 7e-6, 3, device="cuda:0", launches=40)
    seconds = tuple(6e-6 + 1e-8 * i for i in range(7))
    found.append(measured("by hand", case, Work(), seconds, repetition=CONFIRM + 1, device="cuda:0", launches=40))
    return gate(
        verdict(bandwidth),
        verdict(launch, "regressed", 0.7, again=1 / 6.03e-6),
        verdict(metric("host.h2d"), "missing", None, pin=None),
        measurements=tuple(found),
    )


GATES = {
    "fine": fine,
    "every_word": every_word,
    "node": node,
    "no_reference": no_reference,
    "slow_launch": slow_launch,
    "simulated": simulated,
    "hostile": hostile,
    "launched": launched,
    "empty": gate,
}

# Text that nobody foresaw: every code point, lone surrogates and controls among them.
ANY_TEXT = st.text(st.characters(exclude_categories=()), min_size=1, max_size=60) | st.sampled_from(
    [HOSTILE, "%0A::error::x", "a=b", "<<EOF", "'", "|", "```", "-->", "]]>", "&#64;all", "", " "]
)
SOME = settings(max_examples=60, deadline=None)


def _drawn(number: int, device: int, amount: str, status: str, ratio: float, gates: bool, again: bool) -> MetricVerdict:
    one = metric(f"{amount}.{number}", amount, gates)
    ratio = ratio if status in SLOW else {"missing": None, "improved": 1.1}.get(status, 1.0)
    status = status if gates or status in ("ok", "improved") else "suspicious"
    more = {"again": ratio * USUAL[amount], "looked": 3} if again and ratio and ratio < 1 else {}
    return verdict(one, status, ratio, f"cuda:{device}", **more)


SLOW = ("regressed", "suspicious", "inconclusive")
NODES = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(sorted(USUAL)),
        st.sampled_from(STATUSES),
        st.floats(0.3, 0.75),
        st.booleans(),
        st.booleans(),
    ),
    max_size=30,
).map(lambda drawn: gate(*(_drawn(at, *each) for at, each in enumerate(drawn)), devices=4))
