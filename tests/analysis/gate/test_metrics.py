"""What is gated: named once, found again on every product, with tolerances that make sense."""

import re

import pytest

from bench import theory
from bench.analysis.gate.metrics import Candidate, Metric, metrics, names, pinned
from bench.gatekeeper import GateSession
from bench.measure.device.sim import open_simulated
from bench.measure.environment import environment
from bench.measure.probes import cases_of, select
from bench.measure.session import BUDGETS
from bench.schema import Cache, DeviceInfo, case_key
from bench.work import Work
from tests.analysis.gate.runs import CASES, GATED, READ, gpu

SKUS = [product.sku for product in theory.products()]
# What is Blackwell's or has no tensor-core loop of ours, what no datasheet states: known, and so not waited for.
UNSTATED = ("cache.last.read", "host.h2d", "host.d2h", "tensor.")


def infos(sku: str, gpus: int = 1) -> list[DeviceInfo]:
    return [device.info for device in open_simulated(f"sim:{sku},gpus={gpus}")]


@pytest.fixture
def followed(tmp_path):
    return GateSession(tmp_path, select([]), None)


@pytest.mark.parametrize("sku", SKUS)
def test_every_gated_metric_is_a_case_that_can_be_found_by_its_key(followed, sku):
    (info,) = infos(sku)
    probes = {probe.name: probe for probe in select([])}
    cases = followed.everything([info]).cases[info.id]
    known = metrics(info)
    followed._learn(environment([info], (), "", 0))
    named = followed._pins(info)
    assert set(named.values()) == set(cases)
    lacking = {name for name, metric in known.items() if metric.gates} - set(named)
    assert not {name for name in lacking if not name.startswith(UNSTATED)}
    assert len(named) >= 10
    for name, (key, lasting) in named.items():
        assert lasting == known[name].sustained
        (case,) = cases_of(info, probes[key[0]], [key], BUDGETS["standard"])
        assert case_key(key[0], probes[key[0]].version, case.params) == key
        assert not case.skip


@pytest.mark.parametrize("sku", SKUS)
def test_names_are_unique_and_never_the_hardwares(sku):
    (info,) = infos(sku)
    for name in metrics(info):
        words = re.split(r"[._]", name)
        assert not {sku, info.name, info.product} & {name, *words}
        assert not re.search(r"nvidia|h100|h200|b200|sxm|pcie|gh200|rtx|cuda|sim:", name)
        assert re.fullmatch(r"[a-z0-9_.]+", name)


def test_names_are_unique_before_they_become_keys():
    """A dict would hide a second metric of one name."""
    from bench.analysis.gate import metrics as module

    for sku in SKUS:
        info = infos(sku, 2)[0]
        parts = (module._memory, module._arithmetic, module._library, module._links)
        found = [metric.name for part in parts for metric in part(info)]
        assert len(found) == len(set(found))
        assert set(found) == set(metrics(info))


@pytest.mark.parametrize("sku", ["h200-sxm", "t4", "b200"])
def test_about_a_dozen_gate(sku):
    """False alarms add up over metrics."""
    assert 8 <= sum(metric.gates for metric in metrics(infos(sku, 8)[0]).values()) <= 14


def test_tolerances_are_shares_in_order():
    for sku in SKUS:
        for metric in metrics(infos(sku, 2)[0]).values():
            own = metric.tolerance
            assert 0 < own.warn <= own.floor <= own.siblings < 1, metric.name
            assert (own.least > 0) == (metric.amount == "seconds"), metric.name


def test_a_time_is_better_lower_and_everything_else_higher():
    for metric in metrics(infos("h200-sxm", 2)[0]).values():
        assert (metric.better == "lower") == (metric.unit == "s")
        assert metric.unit in ("B/s", "FLOP/s", "s")
        work = Work(flops=6.0, unit="tensor", dtype="bfloat16", bytes=10.0)
        fast, slow = metric.speed(work, 1e-3), metric.speed(work, 2e-3)
        assert fast == pytest.approx(2 * slow)
        assert metric.value(fast) == pytest.approx({"B/s": 1e4, "FLOP/s": 6e3, "s": 1e-3}[metric.unit])


def test_a_hosts_ranks_have_no_link():
    info = DeviceInfo(
        id="cpu", name="Some CPU", product="some-cpu", memory_bytes=2**34, caches=(Cache("l1", 2**16),),
        units={"float32": "vector"}, loops={"float32": 512}, regime="steady", ranks=2, algorithms=("default",),
    )  # fmt: skip
    found = metrics(info)
    assert not [metric for name, metric in found.items() if name.startswith("allreduce") and metric.gates]
    assert not [metric for metric in found.values() if metric.sustained]


# --- which case a metric is


def candidate(name: str, rate: float = 1.0, saturates: str | None = None, **params) -> Candidate:
    case = CASES[name]
    own = {**case.params, **params}
    pin = ((case.probe, case.version, tuple(own.items())), case.pin[1])
    return Candidate(pin, case.saturates if saturates is None else saturates, rate)


def known(name: str) -> Metric:
    return metrics(gpu())[name]


def test_the_fastest_case_that_claims_the_roof_is_the_metric():
    slow, fast = candidate(READ, 1.0), candidate(READ, 2.0, bytes=5)
    unclaimed = candidate(READ, 9.0, saturates="", bytes=7)
    assert pinned(known(READ), [slow, fast, unclaimed]) == fast.pin
    assert pinned(known(READ), [unclaimed]) is None, "a case that does not reach the roof cannot stand for it"


def test_without_a_search_the_preferred_shape_is_taken_in_the_order_of_preference():
    big, small = (candidate("gemm.bfloat16", saturates="", shape=f"cube-{size}") for size in (8192, 4096))
    assert pinned(known("gemm.bfloat16"), [small, big]) == big.pin
    assert pinned(known("gemm.bfloat16"), [small]) == small.pin
    assert pinned(known("gemm.bfloat16"), [candidate("gemm.bfloat16", saturates="", shape="odd")]) is None


def test_another_regime_dtype_or_mix_is_another_metric():
    assert pinned(known("gemm.bfloat16.sustained"), [candidate("gemm.bfloat16")]) is None
    assert pinned(known("gemm.bfloat16"), [candidate("gemm.bfloat16", dtype="float16")]) is None
    assert pinned(known(READ), [candidate("memory.dram.triad")]) is None
    assert pinned(known(READ), []) is None


def test_the_hand_written_gpu_has_what_the_tests_gate():
    found = metrics(gpu())
    assert {name for name in CASES if found[name].gates} == set(GATED)


@pytest.mark.parametrize("sku", SKUS)
def test_a_file_of_tolerances_may_name_every_metric_of_every_product(sku):
    """Else a machine's own calibration could not be read back."""
    assert set(metrics(infos(sku, 2)[0])) <= names()
    assert set(metrics(infos(sku)[0])) <= names()
