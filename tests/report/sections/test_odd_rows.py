"""Sections of layers, attention and products survive whatever a Run may lack, say it shortly, and draw all of it."""

import math
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bench.report.document import MOST_FINDINGS, Section
from bench.report.sections import GROUPS, RunView, probe_sections
from bench.work import Work, gemm
from tests.report.conftest import HOSTILE
from tests.report.runs import QUICK, by_hand, measured, simulated
from tests.report.sections.conftest import of_probe, section, view

PROBES = ("attention", "layer", "decode", "mixed", "quantised", "moe", "fusion")
WORK = gemm(8, 64, 64, "float32", "vector")
FORBIDDEN = (
    *(
        "stands apart",
        "held against",
        "fared",
        "whence",
        "estranged",
        "unfounded",
        "astray",
        "the ladder",
        "theory",
        "sound",
    ),
    *("no page for", " nan", "inf "),
)


ONCE = settings(max_examples=30, phases=(Phase.explicit, Phase.generate))  # shrinking would take minutes


@cache
def full() -> RunView:
    run = simulated("sim:h200-sxm,noise=0.002:0.007,seed=3", ("peak", "bandwidth", *PROBES), replace(QUICK, rounds=1))
    assert set(PROBES) <= {m.probe for m in run.measurements}
    return view(run)


def rows_of(probe):
    return full().rows[full().rows["probe"] == probe]


def changed(rows) -> RunView:
    """The same Run with other rows."""
    other = replace(full())
    vars(other).update(every=rows, rows=rows)
    return other


def made(seen: RunView) -> dict[str, Section]:
    return {each.id.removeprefix("probe-"): each for each in probe_sections(seen)}


def texts(found: Section) -> list[str]:
    return [*(each.text for each in found.findings), *found.notes]


def strings(value):
    """Every text of a figure, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list | tuple) or hasattr(value, "tolist"):
        for each in list(value):
            yield from strings(each)


def outside(figure) -> list:
    """What the axes of a figure do not hold."""
    missed = []
    for trace in figure.data:
        for name in "xy":
            axis = figure.layout[f"{name}axis"]
            values = [v for v in trace[name] if isinstance(v, int | float)]
            if axis.range is None or axis.type == "category":
                continue
            values = [math.log10(v) for v in values] if axis.type == "log" else values
            low, high = axis.range
            missed += [(trace.name, name, v) for v in values if not low - 1e-9 <= v <= high + 1e-9]
    return missed


def test_every_probe_of_a_full_run_has_a_short_section_with_figures():
    found = made(full())
    ids = [plot.id for each in found.values() for plot in each.plots]
    assert len(ids) == len(set(ids))
    for name in PROBES:
        assert found[name].group in GROUPS
        assert found[name].title
        assert found[name].question.endswith("?")
        assert found[name].plots
        assert found[name].tables
        assert 0 < len(found[name].findings) <= MOST_FINDINGS
        assert all(plot.figure.data and plot.label for plot in found[name].plots)
        assert not [missed for plot in found[name].plots for missed in outside(plot.figure)]


@ONCE
@given(st.sampled_from(PROBES), st.randoms(use_true_random=False))
def test_any_subset_at_any_speed_is_said_in_short_sentences_and_drawn_whole(probe, draw):
    rows = rows_of(probe)
    rows = rows.sample(n=draw.randint(1, len(rows)), random_state=draw.randint(0, 999))
    factor = [10 ** draw.uniform(-0.5, 0.5) for _ in range(len(rows))]
    rows = rows.assign(**{name: rows[name] * factor for name in ("seconds", "low", "high")})
    rows = rows.assign(**{name: rows[name] / factor for name in ("share", "flop_rate", "byte_rate")})
    found = made(changed(rows))[probe]
    for text in texts(found):
        assert len(text.split()) <= 20, text
        assert text.endswith("."), text
        assert not any(word in text.lower() for word in FORBIDDEN), text
    for plot in found.plots:
        assert not outside(plot.figure), plot.id


@ONCE
@given(st.sampled_from(PROBES), st.randoms(use_true_random=False))
def test_odd_params_notes_and_work_are_passed_over(probe, draw):
    odd = (None, "x", -1, 0, [], {}, True, float("inf"), 10**400, float("nan"))

    def bent(given):
        return {name: draw.choice(odd) if draw.random() < 0.1 else value for name, value in given.items()}

    rows = rows_of(probe)
    rows = rows.sample(n=draw.choice((1, 2, len(rows))), random_state=draw.randint(0, 999))
    notes = [{name: str(value) for name, value in bent(each).items()} for each in rows["notes"]]
    demands = [Work() if draw.random() < 0.1 else each for each in rows["work"]]
    rows = rows.assign(params=[bent(each) for each in rows["params"]], notes=notes, work=demands)
    made = of_probe(probe, changed(rows))
    list(made.plots())
    told = (*made.findings(), *made.notes())
    assert all(isinstance(text, str) and "nan" not in text.split() for text in told)


ODD = [
    {},
    {"part": "layer", "model": None, "phase": 3, "tokens": "x", "batch": -1, "context": 0, "ranks": True},
    {"part": "layer", "phase": "verify"},
    {"part": 7, "tokens": "many"},
    {"part": "attention", "layout": 7, "cache": 3, "dtype": None, "batch": 1, "context": 8, "form": "fused"},
    {"part": "cache", "form": "cached", "tokens": 0},
    {"part": "padding", "form": "packed", "sequences": 2, "rows": 1e30},
    {"part": "ragged attention", "spread": 7},
    {"part": "prefill attention", "new": 512},
    {"part": "LM head"},
    {"phase": "decode", "keys": "long", "batch": 8},
    {"phase": "prefill", "keys": 64, "batch": 1, "backend": 3},
    {"routing": 4, "tokens": 1, "experts": 8, "active": 2, "distinct": 2},
    {"quantised": "weights", "batch": 1, "n": 4, "k": 4},
    {"batch": 8, "chunk": 64},
]


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("params", ODD, ids=str)
def test_params_of_another_version_break_no_section(probe, params):
    notes = {"peak_bytes": "many", "fullest": "x"}
    cases = [(params, 1e-3), (params | {"other": 1}, 2e-3)]
    found = section(by_hand([measured(probe, each, WORK, (s,) * 6, notes=notes) for each, s in cases]), probe)
    assert found.tables
    assert all(text and text[-1] in ".?" for text in texts(found))


@pytest.mark.parametrize("probe", PROBES)
def test_a_probe_that_was_skipped_says_why(probe):
    found = section(by_hand([measured(probe, {"part": "layer"}, WORK, (), skip="it is too large")]), probe)
    assert texts(found) == ["Not measured: it is too large."]
    assert not found.plots


@pytest.mark.parametrize("probe", PROBES)
def test_texts_of_a_run_are_inert_in_figures(probe):
    rows = rows_of(probe)
    kept = ("part", "phase", "form", "routing", "quantised", "weights")

    def hostile(given):
        def bent(name, value):
            needed = (name in kept and value != "gate-up") or value in ("default", "equal")
            return value if needed or not isinstance(value, str) else f"{value}{HOSTILE}"

        return {name: bent(name, value) for name, value in given.items()}

    notes = [
        {name: value if name == "peak_bytes" else HOSTILE for name, value in each.items()} for each in rows["notes"]
    ]
    rows = rows.assign(params=list(map(hostile, rows["params"])), notes=notes, causes=HOSTILE, validity="suspect")
    figures = [plot.figure.to_dict() for plot in of_probe(probe, changed(rows)).plots()]
    assert figures
    told = [text.lower() for figure in figures for text in strings(figure)]
    assert any("&lt;img" in text for text in told)
    assert not any("<img" in text or "<a href" in text for text in told)
