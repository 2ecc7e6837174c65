"""Whatever a Run holds, the sections of probes that claim roofs stay short, safe and whole."""

import random
import re
from dataclasses import replace
from functools import cache

import pytest

from bench.report import document, sections
from bench.work import Work
from tests.report.conftest import HOSTILE, hostile
from tests.report.runs import QUICK, by_hand, gpu, measured, simulated
from tests.report.sections.conftest import drawn, of_probe, said, section, view

FOLDS = {
    "Memory": ("bandwidth", "capacity", "onchip"),
    "Compute": ("intensity", "peak"),
    "GEMM": ("gemm",),
    "Links": ("allreduce", "hostcopy"),
    "Latency and launches": ("latency", "launch"),
}
PROBES = tuple(sorted(name for names in FOLDS.values() for name in names))
FORBIDDEN = ("stands apart", "held against", "the ladder", "theory", "sound", "whence", "fared", "astray")


@cache
def node():
    return simulated("sim:h200-sxm,gpus=2,noise=0.002:0.007,overhead=2us,seed=3", PROBES, replace(QUICK, rounds=1))


@cache
def whole():
    return view(node())


@cache
def probe_sections():
    return sections.probe_sections(whole())


@pytest.mark.parametrize("probe", [name for name in PROBES if name != "latency"])  # which nobody simulates
def test_a_section_is_whole_and_its_findings_are_short(probe):
    made = next(each for each in probe_sections() if each.id == f"probe-{probe}")
    about = node().environment.probes[probe]
    assert (made.title, made.question, made.formula) == (about.title, about.question, about.formula)
    assert probe in FOLDS[made.group]
    assert made.group in sections.GROUPS
    assert made.plots
    assert 1 <= len(made.findings) <= 3
    for finding in made.findings:
        assert len(finding.text.split()) <= 20, finding.text
        assert finding.text[-1] == "."
        assert re.search(r"\d", finding.text), finding.text
    for plot in made.plots:
        assert re.search(r"\d", plot.label), plot.label
    text = " ".join([*(finding.text for finding in made.findings), *made.notes]).lower()
    assert not [word for word in FORBIDDEN if word in text]


@pytest.mark.parametrize("probe", PROBES)
def test_a_probe_that_was_skipped_has_a_section_that_says_why(probe):
    made = section(by_hand([measured(probe, {"kind": "any"}, Work(), (), skip="no memory for it")]), probe)
    assert [finding.text for finding in made.findings] == ["Not measured: no memory for it."]
    assert not made.plots
    assert not made.tables


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("params", [{}, {"bytes": "many", "batch": None, "way": 3, "path": 7, "ranks": True}])
def test_a_case_of_a_newer_version_is_passed_over(probe, params):
    run = by_hand([measured(probe, params, Work(1e9, "vector", "float32", bytes=1e6))], gpu())
    assert isinstance(said(run, probe), str)
    drawn(run, probe)


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("seed", range(3))
def test_any_subset_with_odd_params_and_notes_is_drawn_without_error(probe, seed):
    draw, odd = random.Random(f"{probe} {seed}"), (None, "x", -1, 0, {}, True, float("inf"), 10**400, float("nan"))
    chosen = replace(whole())

    def bent(given):
        return {name: draw.choice(odd) if draw.random() < 0.1 else value for name, value in given.items()}

    rows = chosen.rows[chosen.rows["probe"] == probe]
    rows = rows.sample(n=draw.randint(1, len(rows)), random_state=seed) if len(rows) else rows
    notes = [{name: str(value) for name, value in bent(each).items()} for each in rows["notes"]]
    chosen.__dict__["rows"] = rows.assign(params=[bent(each) for each in rows["params"]], notes=notes)
    made = of_probe(probe, chosen)
    assert all(isinstance(text, str) for text in (*made.findings(), *made.notes()))
    assert all(isinstance(plot, document.Plot) for plot in made.plots())


@pytest.mark.parametrize("probe", PROBES)
def test_texts_of_a_run_are_inert_in_figures(probe):
    params = dict.fromkeys(("mix", "store", "way", "dtype", "algorithm", "model", "instruction", "memory"), HOSTILE)
    params |= {"path": HOSTILE, "bytes": 2**20, "hops": 9, "batch": 2, "n": 8, "k": 8, "ranks": 2, "context": 5}
    demand, noted = Work(1e9, "vector", "float32", bytes=1e6), {"predicted": "3", "confirmed": "2", "stopped": HOSTILE}
    claim = {"onchip": "shared", "peak": "vector.<img src=x>.loop"}.get(probe, "")
    figures = drawn(by_hand([measured(probe, params, demand, notes=noted, saturates=claim)], gpu()), probe)
    assert figures
    for figure in figures.values():
        assert "<img" not in figure.to_json().replace("\\u003c", "<")


def test_a_hostile_run_has_a_section_per_probe():
    made = sections.probe_sections(view(hostile()))
    assert len(made) == 2
    assert "onerror" not in made[0].id
