"""Verdicts between Runs: true of what was planted, silent where nothing was, and refused where nothing can be said."""

import math
from collections import Counter
from dataclasses import replace
from statistics import fmean

import pytest

from bench.analysis.quantities import Difference
from bench.analysis.run_comparison import comparisons
from bench.measure.budget import BUDGETS
from bench.measure.device.sim import open_simulated
from bench.measure.probes import select
from bench.measure.session import session
from bench.schema import SUSTAINED, Environment, Run
from bench.work import Work
from tests.report.runs import by_hand, cpu, measured

# Roofs, their rounds and a few samples each: what a pair of Runs is judged by, at 60 ms a Run.
BRIEF = replace(BUDGETS["standard"], levels=(1,), seconds=1e6, min_samples=3, max_samples=5)
BURST = replace(BRIEF, sustained_rounds=0)
NOISE = "noise=0.002:0.007"
PAIRS = 80


def run(options: str = "", seed: int = 0, sku: str = "h200-sxm", probes=("bandwidth", "peak"), budget=BRIEF) -> Run:
    devices = open_simulated(f"sim:{sku},seed={seed}{options and f',{options}'}")
    found = tuple(m for device in devices for m in session(device, select(list(probes)), budget, seed))
    infos = tuple(device.info for device in devices)
    about = Environment(
        suite="0", run_id=f"{seed:032x}", started="2026-01-02T03:04:05.000Z", command=(), budget=budget.name, seed=seed,
        product=infos[0].product, simulated=True, devices=infos, host="node",
    )  # fmt: skip
    return Run(about, found)


def one(runs, key="dram", kind="roof", regime="burst") -> Difference:
    (found,) = comparisons(runs)
    return next(d for d in found.of(kind) if d.key == key and d.regime == regime)


def repeated(seconds, params=None, first=0, **more):
    """A case with one median per repetition."""
    fields = {"saturates": "dram", "work": Work(bytes=1e9)} | more
    params = {"mix": "copy"} if params is None else params
    return [
        measured("bandwidth", params, seconds=(s,) * 3, repetition=r, **fields) for r, s in enumerate(seconds, first)
    ]


# --- what was planted, and what was not


@pytest.fixture(scope="module")
def equal_pairs():
    return [comparisons([run(NOISE, 2 * k + side, budget=BURST) for side in (0, 1)])[0] for k in range(PAIRS)]


def test_equal_machines_mostly_show_no_difference(equal_pairs):
    """Headline roofs, each at 95 %: 5 % of 80 is 4, and 1 to 10 holds 98 % of binomial draws; these seeds always draw
    the same.
    """
    alarms, judged = Counter(), Counter()
    for found in equal_pairs:
        for d in found.of("roof", "ridge"):
            if d.headline:
                judged[d.key] += d.judged
                alarms[d.key] += d.differs
    assert judged == dict.fromkeys(
        ("dram", "vector.float32.loop", "tensor.bfloat16.library", "tensor.bfloat16.library/dram"), PAIRS
    )
    # one that never errs would be too timid to find anything
    assert all(1 <= alarms[key] <= 10 for key in judged), alarms


def test_a_family_rarely_raises_any_alarm_where_nothing_differs(equal_pairs):
    """Benjamini and Hochberg keep the chance of any alarm at 5 % per family: 11 of 80 would be 0.2 % luck."""
    for kinds in (("case",), ("roof", "ridge", "knee")):
        alarmed = sum(any(d.differs for d in found.of(*kinds) if not d.headline) for found in equal_pairs)
        assert alarmed <= 10, kinds


def test_what_could_have_been_seen_is_about_what_the_noise_allows(equal_pairs):
    halves = [d.visible for found in equal_pairs for d in found.of("roof") if d.key == "dram" and d.regime == "burst"]
    # t over 5 and 5 repetitions that scatter by 0.7 %
    assert fmean(halves) == pytest.approx(2.31 * 0.0071 * math.sqrt(2 / 5), rel=0.15)


def test_a_planted_difference_is_found_and_covered():
    held = 0
    for seed in range(40):
        d = one([run(NOISE, seed, budget=BURST), run(f"{NOISE},dram=0.9", seed + 1000, budget=BURST)])
        assert d.verdict == "slower"
        held += d.interval[0] <= 0.9 <= d.interval[1]
    # 95 % of 40 is 38; 32 to 40 holds 99.9 %
    assert 32 <= held <= 40


def test_lasting_load_is_compared_with_lasting_load():
    runs = [run(NOISE, 1), run(f"{NOISE},sustained=0.8", 2)]
    key = "tensor.bfloat16.library"
    assert one(runs, key).ratio == pytest.approx(1, abs=0.03)
    lasting = one(runs, key, regime=SUSTAINED)
    assert lasting.verdict == "slower"
    assert lasting.basis == "range of 3 and 3"
    assert lasting.ratio == pytest.approx(0.8, rel=0.03)


def test_a_ridge_is_higher_where_the_memory_is_slower():
    ridge = one([run(NOISE, 1), run(f"{NOISE},dram=0.9", 2)], "tensor.bfloat16.library/dram", "ridge")
    assert ridge.verdict == "higher"
    assert ridge.ratio == pytest.approx(1 / 0.9, rel=0.03)
    assert ridge.headline


def test_the_knee_moves_with_the_memory():
    budget = replace(BRIEF, levels=(None,))
    knee = one(
        [run(f"{o}{NOISE}", k, "h200-sxm", ("intensity",), budget) for k, o in enumerate(("", "dram=0.8,"))],
        "float32",
        "knee",
    )
    assert knee.verdict == "higher"
    assert knee.ratio == pytest.approx(1.25, rel=0.05)


def test_without_noise_the_ratio_is_exact():
    d = one([run(), run("dram=0.9", 1)])
    assert d.ratio == pytest.approx(0.9, rel=1e-9)
    assert d.verdict == "slower"


# --- laws


def test_a_run_beside_itself_is_equal_everywhere():
    noisy = run(NOISE, 7)
    (found,) = comparisons([noisy, noisy])
    assert found.relation == "the same Run"
    assert not found.regression
    compared = [d for d in found.pairs[0].differences if d.judged]
    assert len(compared) > 100
    for d in compared:
        assert d.ratio == 1
        assert d.verdict == "no difference seen"


def test_swapping_inverts():
    runs = [run(NOISE, 1), run(f"{NOISE},dram=0.93", 2)]
    (there,), (back,) = comparisons(runs), comparisons(runs[::-1])
    words = {"slower": "faster", "faster": "slower", "higher": "lower", "lower": "higher"}
    returned = {(d.kind, d.key, d.regime, str(d.params)): d for d in back.pairs[0].differences}
    for d in there.pairs[0].differences:
        e = returned[d.kind, d.key, d.regime, str(d.params)]
        assert d.ratio == pytest.approx(1 / e.ratio)
        assert d.interval == pytest.approx((1 / e.interval[1], 1 / e.interval[0]))
        prefix, _, word = d.verdict.rpartition(" ") if d.differs else ("", "", d.verdict)
        assert e.verdict == f"{prefix} {words.get(word, word)}".strip()
    assert any(d.differs for d in there.pairs[0].differences)


# --- few repetitions


def test_one_repetition_alone_says_nothing():
    d = one([by_hand(repeated([1e-3])), by_hand(repeated([2e-3]))], regime="steady")
    assert not d.judged
    assert d.verdict == "not comparable"
    assert "one repetition" in d.reason
    assert (d.reference, d.other) == (pytest.approx(1e12), pytest.approx(5e11))


def test_a_case_measured_once_borrows_and_says_only_perhaps():
    steady = repeated([1e-3, 1.01e-3, 0.99e-3, 1.005e-3, 0.995e-3], first=2)
    once = [by_hand([*steady, *repeated([s], {"mix": "read"}, saturates="")]) for s in (1e-3, 1.5e-3)]
    (found,) = comparisons(once)
    d = next(d for d in found.of("case") if d.params == {"mix": "read"})
    assert d.verdict == "perhaps slower"
    assert d.basis == "measured once: scatter of other cases"
    assert d.ratio == pytest.approx(1 / 1.5)


def test_a_case_that_jitters_within_is_not_lent_a_calm_neighbours_scatter():
    steady = repeated([1e-3, 1.001e-3, 0.999e-3, 1.0005e-3, 0.9995e-3], first=2)
    jitter = [
        measured("bandwidth", {"mix": "read"}, Work(bytes=1e9), seconds=tuple(s * f for f in (0.5, 0.7, 1, 1.4, 2)))
        for s in (1e-3, 1.5e-3)
    ]
    (found,) = comparisons([by_hand([*steady, case]) for case in jitter])
    d = next(d for d in found.of("case") if d.params == {"mix": "read"})
    assert d.verdict == "no difference seen"
    assert d.visible > 0.5


# --- what is not comparable


FIVE = [1e-3, 1.01e-3, 0.99e-3, 1.005e-3, 0.995e-3]


def test_other_versions_are_refused_with_the_reason():
    d = one([by_hand(repeated(FIVE, first=2)), by_hand(repeated(FIVE, first=2, version=2))], regime="steady")
    assert d.reason == "other versions of the probe bandwidth: 1 and 2"
    assert d.ratio is None
    (found,) = comparisons([by_hand(repeated(FIVE, first=2)), by_hand(repeated(FIVE, first=2, version=2))])
    assert [c.reason for c in found.of("case")] == [d.reason]


def test_a_roof_that_one_lacks_names_the_cause():
    skipped = [measured("bandwidth", {"mix": "copy"}, Work(bytes=1e9), seconds=(), saturates="dram", skip="no memory")]
    d = one([by_hand(repeated(FIVE, first=2)), by_hand(skipped)], regime="steady")
    assert d.reason == "only in the reference: no memory"
    d = one([by_hand(skipped), by_hand(repeated(FIVE, first=2))], regime="steady")
    assert d.reason == "only in the other Run: no memory"


def test_the_same_params_with_other_work_are_not_one_case():
    runs = [
        by_hand(repeated(FIVE, first=2, work=Work(flops=f, unit="vector", dtype="float32", bytes=1e9), saturates=""))
        for f in (1e9, 2e9)
    ]
    (found,) = comparisons(runs)
    assert [c.reason for c in found.of("case")] == ["the case does other work there"]


def test_nothing_measured_compares_nothing():
    (found,) = comparisons([by_hand(), by_hand(complete=False)])
    assert found.of("roof", "ridge", "knee", "case") == ()


def test_winners_that_differ_are_a_doubt():
    d = one([by_hand(repeated(FIVE, {"mix": mix}, first=2)) for mix in ("copy", "read")], regime="steady")
    assert d.doubts == ("reached by other cases: mix copy and mix read",)
    assert d.judged


# --- which device with which


def infos(*uuids):
    return tuple(cpu(id=f"cuda:{k}", uuid=uuid, name="GPU") for k, uuid in enumerate(uuids))


def matched(ours, theirs):
    (found,) = comparisons([by_hand(devices=ours), by_hand(devices=theirs, run_id="1" * 32)])
    pairs = [(pair.reference.info.id, pair.other.info.id, pair.matched) for pair in found.pairs]
    return pairs, found


def test_devices_are_paired_by_uuid_then_by_index_then_with_the_first():
    pairs, found = matched(infos("a", "b"), infos("b", "x", "y"))
    assert pairs == [
        ("cuda:1", "cuda:0", "same UUID"),
        ("cuda:0", "cuda:1", "against the first"),
        ("cuda:0", "cuda:2", "against the first"),
    ]
    pairs, found = matched(infos("", "", ""), infos("", ""))
    assert pairs == [("cuda:0", "cuda:0", "same index"), ("cuda:1", "cuda:1", "same index")]
    assert found.unmatched == ("cuda:2",)


@pytest.mark.parametrize(
    ("ours", "theirs", "relation", "regression"),
    [
        (infos("a"), infos("a"), "the same devices", True),
        (infos("a"), infos("b"), "other units of the same product", False),
        (infos(""), infos(""), "the same host", True),
        (infos("a"), (cpu(),), "different machines", False),
        (infos("a", "b"), infos("a"), "the same devices", True),
    ],
)
def test_relation(ours, theirs, relation, regression):
    _, found = matched(ours, theirs)
    assert (found.relation, found.regression) == (relation, regression)


def test_a_simulated_run_beside_a_measured_one_is_no_regression():
    (found,) = comparisons([by_hand(), by_hand(simulated=True)])
    assert found.relation == "a simulated Run beside a measured one"
    assert not found.regression
