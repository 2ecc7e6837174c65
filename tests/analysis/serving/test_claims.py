"""Claims, checked: the reference against independent expressions, the machine's column against planted machines."""

import re
import string
from dataclasses import replace
from math import ceil, floor
from pathlib import Path

import pytest

from bench.analysis.fit import Energy, Fit, Sustained, fit
from bench.analysis.serving import claims
from bench.analysis.serving.claims import Checked, checked, contradictions, evidence, tally
from bench.analysis.serving.claims.here import answers
from bench.analysis.serving.claims.reference import numbers
from bench.analysis.serving.machine import Machine
from bench.analysis.serving.machine_io import of_run
from bench.measure.probes import probes
from bench.schema import Run
from bench.stats import Estimate
from bench.store import read

RESULTS = Path(__file__).resolve().parents[3] / "results" / "amd-epyc-2c"

# Claim, place among its reference numbers, scale to SI, and the number once more: from bare figures, by hand.
EXPRESSIONS = """
P2-01 0 1 33/2*0.1
P2-02 0 1 1/0.02
P2-02 1 1 64/0.02
P2-03 0 1 0.5+100*0.02
P2-03 1 0.001 2.5/101*1e3
P2-04 0 1 2/(3600*1000)*1e6
P2-05 0 1 3+4+5
P2-05 1 1 3+1+1
P2-05 2 1 sum(range(1000,2000))/1999
P2-06 0 1 401646551040/(126*128*128)
P2-07 0 1 128*1000**2*2
P2-08 0 1 3.35/989.4
P2-09 0 1e+12 2*126*11*1000*16384**2/1e12
P2-09 1 1e+12 2*1000*401646551040/1e12
P2-10 0 1e+12 2*1000*405e9/1e12
P2-10 1 1 810/744.103
P2-12 0 1 744.1/1000
P2-12 1 1 807.43/760
P2-12 2 1 807.43/897
P2-12 3 1 ceil(811.7/85.52)
P2-13 0 1 1/0.744
P2-14 0 3600 (744.103828+8257.552515)/3600
P2-14 1 3600 (2*1000001*401646551040+4*126*16384*pairs(1000001))/1e15/3600
P2-15 0 1 8257.55/9001.66
P2-17 0 1e-09 516096/3.35e12*1e9
P2-18 0 1 8257536/516096
P2-19 0 1 2*16384*2
P2-20 0 1 2*16384*2*126
P2-23 0 1e+12 8257536*1e6/1e12
P2-25 0 0.01 3.35/989.4*100
P2-25 1 0.01 2.039/312*100
P2-28 0 1 2*64*8192*8192/gemm_bytes(64,8192,8192)
P2-28 1 1 2*8192*8192/gemm_bytes(1,8192,8192)
P2-29 0 1 1-250/400
P2-30 0 1 pairs(100000)/100000**2
P2-31 0 1e+12 126*1e5*1245184/1e12
P2-32 0 1 2*1e5*405e9
P2-33 0 1 4*126*1e10*16384
P2-33 1 1 4*126*16384*pairs(100000)
P2-34 0 1 2*1e5*405e9+4*126*1e10*16384
P2-34 1 1 2*1e5*405e9+4*126*16384*pairs(100000)
P2-35 0 1e+09 405853388800*2/1e9
P2-35 1 1e+09 403747897344*2/1e9
P2-36 0 1e+09 516096*1e5/1e9
P2-36 1 1e+09 8257536*1e5/1e9
P2-37 0 1 (2*1e5*405e9+4*126*1e10*16384)/861.6e9
P2-38 0 1 989.4/3.35
P2-38 1 1 1978.9/3.35
P2-40 0 1 2*4096*4096/gemm_bytes(1,4096,4096)
P2-41 0 1 2*405e9
P2-41 1 1 4*126*1e5*16384
P2-42 0 1e+09 810+51.6
P2-43 0 1 (2*405e9+4*126*1e5*16384)/861.6e9
P2-43 1 1 4*128*128/(2*8*128*2)
P2-44 0 0.001 861.6e9/(8*3.35e12)*1e3
P2-44 1 0.001 1.6357536e12/(8*989.4e12)*1e3
P2-45 0 0.01 0.2067/32.15*100
P2-47 1 0.001 6.6536+49.8920
P2-48 0 1 516096/51.6096e9
IL-02 0 1 64/153.016
IL-02 1 1 64/295.343
IL-02 2 1 312/2.039*0.53125/2
IL-04 0 0.001 14/2.0
IL-04 1 0.001 6607077376*2/2.039e12*1e3
IL-04 2 0.001 32*9*3e-3
IL-05 0 0.01 2.039/312*100
IL-13 0 1 ceil(0.95*32)*0.1
IL-14 0 1 floor((100/3*1e-3*4.8e12-69501714432)/(2048*327680))
IL-15 0 1 floor((141e9*0.9-70553706496)/(2048*327680))
IL-15 1 1 floor((141e9*0.9-70553706496)/(8192*163840))
IL-16 0 1 1+69501714432*2/(327680*1024)
IL-16 1 1 1+69501714432*2/(327680*8192)
IL-17 0 1 max(B for B in range(1,200) if ceil(0.95*B)*0.05 <= 2.0000001)
IL-07 0 0.001 4*32*4096**2*2/2.039e12*1e3
IL-07 1 0.001 4*32*128*4096**2/312e12*1e3
IL-07 2 1 2.1064/0.7723
IL-08 0 1 spec(0.8,4)/1.4
IL-08 1 1 max(spec(0.6,g)/(1+0.1*g) for g in range(41))
IL-08 2 1 max(spec(0.9,g)/(1+0.1*g) for g in range(41))
IL-09 0 1 2/0.53125
IL-10 0 1 64/8
IL-10 1 1 128/8
IL-34 0 0.01 pairs(1024,3072)/pairs(4096)*100
IL-35 0 1 1e9/69501714432
IL-35 1 1 spec(0.8,4)/(1+4*0.0144)
IL-37 0 1 (spec(0.8,4)-0.4)/5
IL-37 1 1 0.59232*295.343
IL-39 0 1 1978.9/989.4
IL-20 0 1e+09 68976648192*2/1e9
IL-20 1 1e+09 6738415616*2/1e9
IL-21 0 1 68976648192/6738415616
IL-22 0 1 (68713185280*2+32*4096*327680)/(6607077376*2+32*4096*524288)
IL-22 1 1 524288/327680
IL-23 0 1 ceil(137.95/40)
IL-23 1 1 ceil(137.95/80)
IL-25 0 1 32//8
IL-26 0 1 2*32
IL-27 0 1 2*7/8
IL-28 0 1 2*8192*4096*2
IL-28 1 1 4096*2
IL-28 2 1 64*4096*2
IL-28 3 1 134217728/8192
IL-29 0 0.001 32*2*7/8*134217728/225e9*1e3
IL-29 1 0.001 64*6e-3
IL-29 2 0.001 64*44e-3
IL-29 3 0.001 6.48/8
IL-30 0 1 1/(1+4*64*5e-6/4.48039309e-3)
IL-30 1 1 1/(1+8*64*5e-6/4.48039309e-3)
IL-30 2 1 1/(1+8*160*5e-6/41.4935609e-3)
IL-31 0 1e+09 68976648192*0.5/1e9
IL-31 1 1 floor((80e9*0.9-37.413892352e9)/(2048*327680))
RP-01 0 1 6*2.5
RP-01 1 1 0.12*15
RP-03 0 0.01 36624596992/670098718720*100
RP-04 0 0.001 174.527713
RP-07 0 1 989.4/3.35
RP-07 1 1 1+36624596992/(70272*8192)
RP-08 0 1 295.343*256/8
RP-08 1 1 295.343*670098718720/36624596992
RP-10 0 1 2*100e9/(989.4/3.35*200e3)
RP-11 0 1 7168*2
RP-12 0 1e+06 58*8*(7168+14336)/1e6
RP-12 1 1e-06 9977856/50e9*1e6
RP-12 2 1e-06 2*36624596992/1978.9e12*1e6
RP-13 0 0.01 37552297472/671026419200*100
PI-01 0 0.001 80/3.35
PI-01 1 0.001 141/4.8
PI-01 2 0.001 80/2.039
PI-01 3 0.001 16e9/8.2e11*1e3
PI-02 0 0.001 0.9*80/3.35
PI-06 0 1 3350/(12*38.4)
PI-06 1 1 3350/(8*38.4)
PI-06 2 1 3350/64
PI-07 0 1 1/spec(0.8,4)
PI-08 0 1 2*142.857/(2*0.857143)
PI-08 1 1 640/3.7
PI-08 2 1 5/3.7
PI-09 0 1 700*0.02
PI-09 1 1 700*0.02/64
PI-11 0 0.001 12748587008*2/3.35e12*1e3
PI-11 1 0.001 46571454464*2/3.35e12*1e3
PI-11 2 0.01 128256*4096/8030261248*100
PI-13 0 1e-06 2*7/8*16384/450e9*1e6
PI-13 1 1 1-0.99**160
MB-02 0 1 1/295.343
MB-03 0 1e+09 2*69501714432/1e9
MB-04 0 0.01 100-3.35/989.4*100
MB-05 0 0.001 (0.02+31/127*0.1)*1e3
"""


def pairs(s, cached=0):
    return s * cached + s * (s + 1) // 2


def gemm_bytes(m, k, n):
    return 2 * (k * n + m * k + m * n)


def spec(acceptance, drafts):
    return sum(acceptance**i for i in range(drafts + 1))


KNOWN = {"pairs": pairs, "gemm_bytes": gemm_bytes, "spec": spec, "ceil": ceil, "floor": floor}


@pytest.mark.parametrize("line", EXPRESSIONS.strip().splitlines())
def test_the_reference_is_recomputed(line):
    name, place, scale, expression = line.split(" ", 3)
    assert numbers()[name][int(place)] == pytest.approx(eval(expression, KNOWN) * float(scale), rel=1e-3)


def machine_of(fitted: Fit) -> Machine | None:
    return of_run(fitted) if fitted.roofs else None


def rows_of(run: Run, *, as_real: bool = False) -> dict[str, Checked]:
    """By id. as_real: verdicts as if the simulated numbers were measured, which is how a test knows the truth."""
    fitted = fit(run)[0]
    if as_real:
        fitted = replace(fitted, info=replace(fitted.info, simulated=False))
    return {row.id: row for row in checked(fitted, machine_of(fitted))}


@pytest.fixture(scope="module")
def node(run_of) -> Run:
    return run_of("sim:h200-sxm,gpus=8", list(probes()))


@pytest.fixture(scope="module")
def rows(node) -> dict[str, Checked]:
    return rows_of(node, as_real=True)


@pytest.fixture(scope="module")
def cpu() -> dict[str, Checked]:
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


def test_every_number_of_the_reference_is_printed_or_corrects():
    """A number that no sentence shows would be computed for nothing; one that is missing would stop the table."""
    facts = claims._facts()
    assert numbers().keys() <= facts.keys()
    for name, row in facts.items():
        if name in ("documents", "contradictions"):
            continue
        asked = {int(field) for _, field, _, _ in string.Formatter().parse(row.get("reference", "")) if field}
        values = numbers().get(name, ())
        assert asked <= set(range(len(values))), name
        assert not values or asked, name
    assert set(answers()) <= facts.keys()
    assert {name for name, row in facts.items() if "probe" in row} <= set(answers())


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
    facts = claims._facts()
    assert all(row.missing == facts[row.id]["probe"] for row in measured)
    # arithmetic needs no machine
    assert empty["P2-09"].here == "the same on any machine"
    assert empty["RP-14"].here == "no machine can tell"
    assert {row.id for row in empty.values() if row.here is None and not row.measured} <= set(answers())


# Whole steps need a curve of products, which other probes measure too.
STEPS = {"P2-39", "IL-08", "RP-06", "PI-10", "MB-01"}


@pytest.mark.parametrize("probe", ["gemm", "attention", "layer", "fusion", "allreduce", "moe", "quantised", "mixed"])
def test_a_run_without_one_probe_answers_the_rest(node, probe):
    full = rows_of(node)
    without = rows_of(Run(node.environment, tuple(m for m in node.measurements if m.probe != probe), node.end))
    facts = claims._facts()
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
