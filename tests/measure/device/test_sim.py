import math
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import theory
from bench.analysis.datasheet import compare, datasheet
from bench.analysis.fit import fit
from bench.measure.budget import BUDGETS
from bench.measure.device import sim
from bench.measure.device.protocol import DeviceError
from bench.measure.probes import probes
from bench.stats import estimate

PRODUCTS = theory.products()
# The probes that claim roofs, and those that only they need: the others' cases are no part of a machine.
ROOFS = ("bandwidth", "onchip", "peak", "intensity", "launch", "hostcopy", "allreduce")
# One product of each kind has all cases: none is above its roofs.
EVERY = ("t4", "a100-sxm4-80gb", "l40s", "h200-sxm", "b200", "rtx-5090")


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.sku)
@pytest.mark.parametrize("gpus", [1, 2])
def test_a_datasheet_comes_back_as_itself(run_of, product, gpus):
    """datasheet -> sim -> run -> fit == datasheet: the plumbing loses no digit."""
    if gpus == 2 and not product.nvlink:
        pytest.skip("no NVLink, so two GPUs measure what one does")
    every = gpus == 1 and product.sku in EVERY
    fitted = fit(run_of(f"sim:{product.sku},gpus={gpus}", list(probes()) if every else ROOFS))[0]
    gaps = compare(fitted.roofline, product.roofline)
    assert max(abs(gap.ratio - 1) for gap in gaps) < 1e-9
    found = {gap.theirs.key for gap in gaps} | ({"link"} if gpus == 1 else set())
    assert {roof.key for roof in product.roofline.roofs} <= found
    key = fitted.headline.compute.rsplit(".", 1)[0]
    assert fitted.headline.estimate.value == pytest.approx(product.roofline.ridge(key), rel=1e-9)
    assert fitted.knees["float32"].intensity.value == pytest.approx(product.roofline.ridge("vector.float32"), rel=1e-6)
    assert math.isinf(fitted.knees["float32"].sharpness)
    assert fitted.roofline.overhead == 0
    assert not any(fitted.above(case) for case in fitted.cases)


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.sku)
def test_overhead_and_a_soft_knee_are_recovered(run_of, product):
    fitted = fit(run_of(f"sim:{product.sku},overhead=4us,soft=4", ROOFS))[0]
    assert fitted.roofline.overhead == pytest.approx(4e-6, rel=0.005)
    for gap in compare(fitted.roofline, product.roofline):
        assert gap.ratio == pytest.approx(1, abs=0.005), gap.ours.key
    assert fitted.knees["float32"].intensity.value == pytest.approx(product.roofline.ridge("vector.float32"), rel=0.005)
    assert fitted.knees["float32"].sharpness == pytest.approx(4, rel=0.01)


def test_a_run_loads_no_compiler_of_torchs():
    """It computes nothing, and torch takes two seconds to load it for a first operation on tensors without memory."""
    program = (
        "import sys; from tests.conftest import simulated_run; run = simulated_run('sim:h200-sxm');"
        "print(len({m.probe for m in run.measurements}) > 8, 'torch' in sys.modules, 'torch._dynamo' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "False"]


def test_noise_is_seeded(run_of):
    spec = "sim:h200-sxm,noise=0.002:0.007,seed={}"
    one, same, other = (run_of(spec.format(seed), ["bandwidth"]) for seed in (1, 1, 2))
    assert [m.seconds for m in one.measurements] == [m.seconds for m in same.measurements]
    assert [m.seconds for m in one.measurements] != [m.seconds for m in other.measurements]


def test_repetitions_spread_more_than_samples(run_of):
    run = run_of("sim:h200-sxm,noise=0.002:0.02", ["bandwidth"], BUDGETS["soak"])
    repeated = [m for m in run.measurements if m.params.get("mix") == "read" and m.saturates == "dram"]
    repeated = [m for m in repeated if m.regime == "burst"]
    within = [max(m.seconds) / min(m.seconds) - 1 for m in repeated]
    medians = [m.median for m in repeated]
    assert max(medians) / min(medians) - 1 > 2 * max(within) / 2
    assert estimate(medians).n == BUDGETS["soak"].rounds


def test_a_planted_fault_shows_on_its_gpu_and_roof_alone(run_of):
    fits = fit(run_of("sim:h200-sxm,gpus=4,dram@3=0.9", ROOFS))
    for index, fitted in enumerate(fits):
        ratios = {gap.ours.quantity: gap.ratio for gap in compare(fitted.roofline, datasheet(fitted.info))}
        assert ratios["dram"] == pytest.approx(0.9 if index == 3 else 1.0)
        assert ratios["tensor.bfloat16"] == pytest.approx(1.0)


def test_a_throttled_gpu_is_invalid_with_its_cause(run_of):
    fitted = fit(run_of("sim:h200-sxm,throttle=thermal"))[0]
    assert not fitted.roofs
    assert "thermal slowdown" in fitted.missing["dram"]


def test_a_power_cap_is_slower_but_valid(run_of):
    fitted = fit(run_of("sim:h200-sxm,throttle=power_cap"))[0]
    assert fitted.roofline.roof("tensor.bfloat16").rate == pytest.approx(0.85 * 989.4e12)
    assert fitted.roofline.roof("dram").rate == pytest.approx(4.8e12)


def test_drift_slows_the_run(run_of):
    run = run_of("sim:t4,drift=0.5", ["bandwidth"], BUDGETS["soak"])
    same = [m.median for m in run.measurements if m.params.get("mix") == "read" and m.saturates == "dram"]
    assert same == sorted(same)
    assert same[-1] > same[0] * 1.005


def test_the_sustained_regime_is_fitted_for_itself(run_of):
    fitted = fit(run_of("sim:h200-sxm,sustained=0.9", ["bandwidth", "peak"], BUDGETS["standard"]))[0]
    sustained, datasheet_ = fitted.sustained, theory.product("h200-sxm").roofline
    for key, factor in (("tensor.bfloat16.library", 0.9), ("vector.float32.loop", 0.9), ("dram", 1.0)):
        assert sustained.roofline.roof(key).rate == pytest.approx(factor * datasheet_.roof(key.rsplit(".", 1)[0]).rate)
        assert fitted.roofline.roof(key).rate == pytest.approx(datasheet_.roof(key.rsplit(".", 1)[0]).rate)
    assert sustained.headline.estimate.value == pytest.approx(0.9 * fitted.headline.estimate.value)
    # one method per quantity, and the burst case's points stay its own
    assert "tensor.bfloat16.loop" not in sustained.roofs
    assert {case.regime for case in fitted.cases} == {"burst", "sustained"}


def test_energy_is_power_over_rate(run_of):
    """A simulated GPU draws its rated power: joules per flop and per byte come back as watts over the roof's rate."""
    fitted = fit(run_of("sim:h200-sxm", ["bandwidth", "peak"], BUDGETS["standard"]))[0]
    assert {"dram", "tensor.bfloat16.library", "vector.float32.loop"} <= fitted.sustained.energy.keys()
    for key, cost in fitted.sustained.energy.items():
        assert cost.joules.value == pytest.approx(700 / fitted.sustained.roofline.roof(key).rate, rel=1e-6)
        assert cost.watts == pytest.approx(700, rel=1e-6)


def test_a_quick_budget_has_no_sustained_regime(h200):
    assert fit(h200)[0].sustained is None


def test_a_channel_that_the_datasheet_lacks_is_a_skip(run_of):
    hot = [m for m in run_of("sim:h200-sxm", ["bandwidth"]).measurements if m.work.channel == "l2"]
    assert hot
    assert all(m.skip == "the datasheet states no l2" for m in hot)


def test_a_simulated_run_says_so(h200):
    assert h200.environment.simulated
    assert h200.environment.product.startswith("sim-")
    assert all(device.simulated for device in h200.environment.devices)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sim:h201-sxm", "h200-sxm"),
        ("sim:", "no GPU '' in the table"),
        ("sim:h200-sxm,gpus", "not name=value"),
        ("sim:h200-sxm,gpus=0", "between 1 and"),
        ("sim:h200-sxm,gpus=two", "must be a whole number"),
        ("sim:h200-sxm,seed=-1", "between 0"),
        ("sim:h200-sxm,noise=nan", "between 0 and 1"),
        ("sim:h200-sxm,overhead=soon", "not a duration"),
        ("sim:h200-sxm,soft=0.5", "between 1 and"),
        ("sim:h200-sxm,sustained=2", "between"),
        ("sim:h200-sxm,l3=0.9", "nor one of its roofs"),
        ("sim:h200-sxm,dram=0", "between"),
        ("sim:h200-sxm,dram@1=0.9", "this node has 1 GPU,"),
        ("sim:h200-sxm,throttle=boredom", "unknown cause"),
    ],
)
def test_bad_options_are_one_clear_line(text, message):
    with pytest.raises(DeviceError, match=message) as caught:
        sim.parse(text)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text):
    with suppress(DeviceError):
        sim.parse(f"sim:h200-sxm,{text}")
