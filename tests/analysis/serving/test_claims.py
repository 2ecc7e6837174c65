"""Claims, checked: the machine's column against planted machines."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.analysis.fit import Energy, Fit, Sustained, fit
from bench.analysis.serving import claims
from bench.analysis.serving.claims import CheckedClaim, checked, contradictions, evidence, tally
from bench.analysis.serving.machine import Machine
from bench.analysis.serving.machine_io import of_run
from bench.measure.probes import probes
from bench.schema import Run
from bench.stats import Estimate
from bench.store import read

RESULTS = Path(__file__).resolve().parents[3] / "results" / "amd-epyc-2c"


def machine_of(fitted: Fit) -> Machine | None:
    return of_run(fitted) if fitted.roofs else None


def rows_of(run: Run, *, as_real: bool = False) -> dict[str, CheckedClaim]:
    """By id. as_real: verdicts as if the simulated numbers were measured, which is how a test knows the truth."""
    fitted = fit(run)[0]
    if as_real:
        fitted = replace(fitted, info=replace(fitted.info, simulated=False))
    return {row.id: row for row in checked(fitted, machine_of(fitted))}


@pytest.fixture(scope="module")
def node(run_of) -> Run:
    return run_of("sim:h200-sxm,gpus=8", list(probes()))


@pytest.fixture(scope="module")
def rows(node) -> dict[str, CheckedClaim]:
    return rows_of(node, as_real=True)


@pytest.fixture(scope="module")
def cpu() -> dict[str, CheckedClaim]:
    return rows_of(read(sorted(RESULTS.glob("*.jsonl"))[-1]))


def test_every_claim_of_the_five_documents_is_a_row(rows):
    counts = {"P2": 48, "IL": 41, "RP": 14, "PI": 15, "MB": 8}
    assert set(rows) == {f"{mark}-{n:02}" for mark, most in counts.items() for n in range(1, most + 1)}
    assert len({row.document for row in rows.values()}) == 5
    for row in rows.values():
        assert row.claim
        assert row.verdict in claims.VERDICTS
        assert row.by_reference in claims.VERDICTS
        assert row.correction or row.by_reference in (evidence.RIGHT, evidence.OPEN)


def test_a_claim_that_names_a_probe_is_answered_and_every_answer_is_one():
    rows = {name: row for name, row in evidence.facts().items() if name not in ("documents", "contradictions")}
    assert all("answer" in row for row in rows.values() if "probe" in row)
    asked = {row["answer"] for row in rows.values() if "answer" in row}
    given = {
        f"{topic}.{name}"
        for topic, module in claims._TOPICS.items()
        for name, made in vars(module).items()
        if getattr(made, "__module__", "") == module.__name__ and not name.startswith("_")
    }
    assert asked == given


def test_the_reference_names_its_units(rows):
    assert rows["P2-09"].reference.startswith("by 11 d²: 744.1 TFLOP; linear layers 803.3 TFLOP")
    assert rows["P2-20"].reference == "8.26 MB = 8,064 KiB"
    assert rows["PI-01"].reference == "23.9 ms (H100), 29.4 ms (H200), 39.2 ms (A100-80), 19.5 ms (TPU v5e)"
    assert not [row.id for row in rows.values() if re.search(r"[{}]|nan|inf ", row.reference + (row.here or ""))]


def test_a_datasheets_machine_shows_its_own_numbers(rows):
    assert rows["P2-38"].here.startswith("the ridge is 206 FLOP/B; the knee of the measured products is at 206 rows")
    assert rows["PI-01"].here == "31.4 ms to read 140 GiB once"  # 150.75e9 B at 4.8 TB/s
    assert rows["P2-24"].here.endswith("30 tokens/s each allow 134 users, the memory 97")
    assert rows["RP-05"].here == "one user's layer streams its weights and cache at 100 % of the memory roof"
    assert rows["IL-23"].here.startswith("1 of these")
    assert rows["RP-12"].here.startswith("22.2 µs per token at 450 GB/s against 74.0 µs")


def test_measured_verdicts_follow_the_rules(rows):
    assert rows["RP-08"].verdict == "depends"  # 300 against 206: a factor of 1.46
    assert rows["RP-08"].depends_on == "the ridge, 206 FLOP/B here"
    assert rows["RP-08"].changed
    assert rows["IL-02"].verdict == "wrong"
    assert rows["IL-01"].verdict == "right"
    assert rows["PI-05"].verdict == "wrong"  # memory stops at 97, bandwidth at 134
    assert rows["RP-10"].verdict == "wrong"
    # what a datasheet's machine cannot know: a fused kernel there is as fast as an unfused one
    assert rows["IL-07"].verdict == "wrong"
    # a claim about an H100 is not refuted by an H200
    assert rows["P2-38"].verdict == rows["P2-38"].by_reference


def test_a_simulated_machine_overrules_nothing(node):
    shown = rows_of(node)
    assert shown["RP-08"].here.startswith("206 for dense")
    assert not [row.id for row in shown.values() if row.changed]


@pytest.mark.parametrize(
    ("spec", "name", "verdict"),
    [
        ("sim:h200-sxm,dram=0.7", "RP-08", "right with condition"),  # the ridge is 294
        ("sim:h200-sxm,dram=0.2", "RP-08", "wrong"),
        ("sim:h200-sxm,dram=0.5", "PI-05", "right"),  # bandwidth now stops before the memory
        ("sim:h100-sxm5-80gb", "P2-38", "right with condition"),
        ("sim:h100-sxm5-80gb,dram=0.5", "P2-38", "wrong"),
    ],
)
def test_another_machine_changes_the_verdict(run_of, spec, name, verdict):
    run = run_of(spec, ("bandwidth", "peak", "gemm"))
    assert rows_of(run, as_real=True)[name].verdict == verdict


def test_a_run_that_lacks_everything_names_the_probes(node):
    empty = rows_of(Run(node.environment, (), node.end))
    measured = [row for row in empty.values() if row.measured]
    assert len(measured) > 60
    for row in measured:
        assert row.here is None, row.id
        assert row.missing, row.id
        assert row.verdict == row.by_reference
    facts = evidence.facts()
    assert all(row.missing == facts[row.id]["probe"] for row in measured)
    # arithmetic needs no machine
    assert empty["P2-09"].here == "the same on any machine"
    assert empty["RP-14"].here == "no machine can tell"
    assert all("answer" in facts[row.id] for row in empty.values() if row.here is None and not row.measured)


# Whole steps need a curve of products, which other probes measure too.
STEPS = {"P2-39", "IL-08", "RP-06", "PI-10", "MB-01"}


@pytest.mark.parametrize("probe", ["gemm", "attention", "layer", "fusion", "allreduce", "moe", "quantised", "mixed"])
def test_a_run_without_one_probe_answers_the_rest(node, probe):
    full = rows_of(node)
    without = rows_of(Run(node.environment, tuple(m for m in node.measurements if m.probe != probe), node.end))
    facts = evidence.facts()
    lost = {row.id: (row.here, row.missing) for row in without.values() if facts[row.id].get("probe") == probe}
    assert lost
    assert {answer for name, answer in lost.items() if name not in STEPS} <= {(None, probe)}
    for row in without.values():
        assert row.here or row.missing == probe or full[row.id].here is None, row.id


def test_energy_comes_from_lasting_load(node):
    """The worked example of the reference, planted: 143 pJ per byte against 0.857 pJ per flop."""
    fitted = fit(node)[0]
    fitted = replace(fitted, info=replace(fitted.info, simulated=False))
    costs = {"dram": (142.857e-12, 500.0), "tensor.bfloat16.library": (0.857143e-12, 700.0)}
    energy = {key: Energy(key, Estimate(cost, cost, cost, 5), watts) for key, (cost, watts) in costs.items()}
    fitted = replace(fitted, sustained=Sustained(fitted.roofline, fitted.roofs, fitted.ridges, energy))
    shown = {row.id: row for row in checked(fitted, of_run(fitted))}
    assert shown["PI-08"].here.startswith("a 16-bit weight from memory costs 167 times its multiply-add")
    assert shown["PI-08"].verdict == "wrong"
    assert shown["PI-09"].here.startswith("a layer at 500 W")
    assert shown["PI-09"].verdict == "right"


@pytest.mark.parametrize("spec", ["sim:a100-sxm4-80gb", "sim:b200", "sim:t4", "sim:rtx-4090"])
def test_any_product_is_answered(run_of, spec):
    """No FP8 on an A100, no bfloat16 on a T4: what is lacking is named, nothing fails."""
    found = rows_of(run_of(spec, list(probes())), as_real=True)
    assert len(found) == 126
    assert all(row.here or row.missing for row in found.values())


def test_the_committed_run_is_answered(cpu):
    """A CPU: its ridge is near 8, so what needs hundreds of users on a GPU needs few here."""
    assert cpu["IL-02"].here.startswith("64 rows reach")
    assert cpu["IL-02"].verdict == "right"
    assert cpu["IL-02"].correction.startswith("by the reference: 2.4 to 4.6 times")
    assert cpu["P2-17"].here
    assert cpu["IL-29"].here.startswith("2 devices")
    assert cpu["IL-30"].verdict == "depends"  # two devices decide nothing about four to eight
    assert cpu["P2-11"].verdict == cpu["P2-11"].by_reference
    for name, probe in (("P2-05", "fusion"), ("P2-47", "mixed"), ("IL-09", "quantised"), ("RP-03", "moe")):
        assert (cpu[name].here, cpu[name].missing) == (None, probe)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.jsonl")), ids=lambda path: path.stem[:16])
def test_older_runs_are_answered(path):
    found = rows_of(read(path))
    assert found["IL-01"].here
    assert found["P2-17"].here
    assert all(row.here or row.missing for row in found.values())


def test_verdicts_on_numbers_orders_and_ranges():
    assert [evidence.judged(100, x) for x in (90, 114, 86, 120, 149, 151, 60)] == [
        "right", "right", "depends", "depends", "depends", "wrong", "wrong"
    ]  # fmt: skip
    assert evidence.at_most(0.5, 0.1) == "right"
    assert evidence.at_most(0.5, 0.9) == "wrong"
    assert evidence.at_least(10, 11) == "right"
    assert evidence.at_least(10, 8) == "depends"
    assert evidence.within(2, 4, [2, 3, 4.5]) == "right"
    assert evidence.within(2, 4, [1, 3]) == "depends"
    assert evidence.within(2, 4, [1, 1.2]) == "wrong"
    assert evidence.crossing([(1, 1), (3, 2), (5, 4)], 3) == 4
    assert evidence.crossing([(1, 1), (3, 2)], 3) is None
    assert evidence.rises([1, 2, 1.99, 5])
    assert not evidence.rises([1, 2, 1.5])


def test_the_tally_counts_what_the_measurement_changed(cpu):
    counted = tally(cpu.values())
    assert sum(counted.reference.values()) == sum(counted.here.values()) == len(cpu)
    assert counted.unmeasured == sum(row.here is None for row in cpu.values()) > 0
    assert "IL-02" in {row.id for row in counted.changed}
    assert all(row.verdict != row.by_reference for row in counted.changed)


def test_contradictions_point_at_claims(rows):
    found = contradictions()
    assert len(found) == 8
    assert all(name in rows for each in found for name in each.claims)
