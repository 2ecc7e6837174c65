"""Runs to compare, and what is said of them: simulated twins with a planted change, and CPUs by hand."""

from dataclasses import replace
from functools import cache

from bench import report, work
from bench.measure.probes import probes
from bench.report import comparison
from bench.schema import Run
from tests.report.conftest import every_table
from tests.report.runs import by_hand, measured, simulated

NOISE = "noise=0.002:0.007"
PROBES = ("bandwidth", "peak")


@cache
def good() -> Run:
    return simulated(f"sim:h200-sxm,{NOISE},seed=1", PROBES)


@cache
def slow() -> Run:
    """The same Run with a memory 10 % slower and nothing else, whatever the noise drew."""
    return slower(good(), "bandwidth", 0.9)


@cache
def real() -> Run:
    """A CPU by hand: DRAM and the float32 loop, five rounds each, by the probes' versions of today."""
    vector = work.Work(flops=1e10, unit="vector", dtype="float32")
    claims = (("bandwidth", "dram", work.Work(bytes=1e9)), ("peak", "vector.float32.loop", vector))
    scatter = (1.0, 1.01, 0.99, 1.005, 0.995)
    return by_hand(
        measured(
            probe,
            {"way": "only"},
            asked,
            (0.02 * f,) * 3,
            saturates=roof,
            repetition=r,
            version=probes()[probe].version,
        )
        for probe, roof, asked in claims
        for r, f in enumerate(scatter, 2)
    )


def again(run: Run, digit: str = "1", **about) -> Run:
    """As another Run of the same machine."""
    return replace(run, environment=replace(run.environment, run_id=digit * 32, **about))


def slower(run: Run, probe: str, factor: float, digit: str = "5") -> Run:
    longer = (
        replace(m, seconds=tuple(s / factor for s in m.seconds)) if m.probe == probe else m for m in run.measurements
    )
    return again(replace(run, measurements=tuple(longer)), digit)


def page(*runs: Run) -> str:
    return report.made(comparison.document(runs), "html").decode()


def findings(*runs: Run) -> list[str]:
    """The first screen's sentences."""
    return [finding.text for finding in comparison.document(runs).findings]


def section(name: str, *runs: Run):
    return next(each for each in comparison.document(runs).every_section if each.id == name)


def table(name: str, *runs: Run) -> list[dict[str, str]]:
    """A table of the page as a reader sees it: a mapping from headings to texts per row."""
    found = next(each for each in every_table(comparison.document(runs)) if each.id == name)
    return [{column.name: cell.text for column, cell in zip(found.shown, row, strict=True)} for row in found.cells]
