from collections import Counter
from dataclasses import replace
from functools import partial

import pytest

from bench.measure.budget import BUDGETS, timed
from bench.measure.device.sim import open_simulated
from bench.measure.probes import Probe, describe, select
from bench.measure.session import plans, session
from bench.schema import Cache, Case, Setup
from bench.work import Work

QUICK = BUDGETS["quick"]


def ready(device):
    return Setup([partial(int)])


def probe(cases):
    return Probe("planted", 1, cases)


def test_headline_cases_come_back_in_shuffled_rounds(h200):
    ladder = {m.key for m in h200.measurements if m.probe == "intensity" and m.params["dtype"] == "float32"}
    claimed = [m for m in h200.measurements if (m.saturates or m.key in ladder) and m.seconds]
    rounds = {}
    for m in claimed:
        rounds.setdefault(m.repetition, []).append(m.key)
    assert set(rounds) == {0, 1, *range(2, QUICK.rounds + 1)}
    later = [rounds[r] for r in range(2, QUICK.rounds + 1)]
    assert all(sorted(map(str, keys)) == sorted(map(str, later[0])) for keys in later)
    assert later[0] != later[1], "shuffled"
    assert sorted(map(str, rounds[0] + rounds[1])) == sorted(map(str, later[0]))


def test_the_order_of_rounds_follows_the_seed():
    def order(seed):
        device = open_simulated("sim:h200-sxm")[0]
        return [m.key for m in session(device, select(["bandwidth"]), QUICK, seed) if m.repetition > 1]

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_a_searchs_winner_is_measured_again_before_it_claims(h200):
    tries = [m for m in h200.measurements if m.probe == "peak" and m.params.get("dtype") == "bfloat16"]
    searched = [m for m in tries if m.repetition == 0 and m.params["kind"] == "gemm"]
    assert searched
    assert not any(m.saturates for m in searched)
    winners = {m.key for m in tries if m.saturates == "tensor.bfloat16.library"}
    assert len(winners) == 1


def test_generators_are_steered_by_seconds():
    heard = []

    def cases(info, budget):
        for size in (1e6, 2e6):
            heard.append((yield Case(params={"size": size}, work=Work(bytes=size), prepare=ready)))

    device = open_simulated("sim:h200-sxm")[0]
    list(session(device, [probe(cases)], QUICK))
    assert heard[:4] == [None] * 4, "roofs come first, and this claims none"
    assert heard[4:6] == heard[-2:] == [1e6 / 4.8e12, 2e6 / 4.8e12]


def test_a_hopeless_case_is_predicted_and_skipped():
    heard = []

    def cases(info, budget):
        for size in (1e9, 1e15):
            heard.append((yield Case(params={"size": size}, work=Work(bytes=size), prepare=ready)))

    device = open_simulated("sim:h200-sxm")[0]
    found = list(session(device, [probe(cases)], QUICK))
    assert len(found) == 2, "said once, in the last pass: a finer one may show that it is not hopeless"
    assert found[1].skip.startswith("predicted to take 3 min 28 s a launch at the best rate seen (size 1000000000.0)")
    assert heard[-1] is None


def test_a_case_that_looks_hopeless_from_the_ends_of_a_sweep_is_measured_once_its_neighbours_are():
    """A rate that grows with size: the smallest point alone would have the largest skipped."""

    def cases(info, budget):
        for size in budget.thin([2.0**p for p in range(17)]):
            yield Case(params={"size": size}, work=Work(bytes=size * 1e6), prepare=ready)

    device = open_simulated("sim:h200-sxm,overhead=100ms")[0]
    found = list(session(device, [probe(cases)], replace(QUICK, launch=1.0)))
    assert [m.params["size"] for m in found if m.skip] == []


def test_history_replays_what_an_earlier_process_did():
    def run(history=None):
        device, chosen = open_simulated("sim:h200-sxm")[0], select(["bandwidth", "peak"])
        return list(session(device, chosen, QUICK, history=history, seconds=1e4))

    whole = run()
    for cut in (0, 1, 40, len(whole) - 5):
        done = {m.repetition_key: m.median if m.seconds else None for m in whole[:cut]}
        # who has had how much time begins anew, and with it the order in which probes take turns
        assert sorted(str(m.repetition_key) for m in run(done)) == sorted(str(m.repetition_key) for m in whole[cut:])


def told(device, probes, budget, **more):
    """(measurements, what was not reached)."""
    found, steps = [], session(device, probes, budget, **more)
    while True:
        try:
            found.append(next(steps))
        except StopIteration as end:
            return found, end.value


COST = "cost=20ms:2ms:400ms:4s"


@pytest.mark.parametrize("seconds", [6, 10, 20, 40, 80, 150, 700])
def test_a_budget_is_kept_whatever_it_is(seconds):
    device = open_simulated(f"sim:h200-sxm,noise=0.002:0.007,{COST}")[0]
    begun = device.now()
    found, _ = told(device, select([]), timed("t", seconds))
    assert device.now() - begun <= seconds * 1.02 + 0.3
    assert any(m.saturates == "dram" and m.seconds for m in found)


@pytest.mark.parametrize("slower", [1, 3, 10])
def test_a_machine_that_is_slow_gets_fewer_points_not_more_time(slower):
    device = open_simulated(f"sim:h200-sxm,cost={20 * slower}ms")[0]
    found, unreached = told(device, select([]), QUICK)
    assert device.now() <= QUICK.seconds * 1.02
    roofs = {m.saturates for m in found if m.seconds} - {""}
    assert {"dram", "tensor.bfloat16.library", "vector.float32.loop", "shared"} <= roofs
    repeated = {m.saturates for m in found if m.seconds and m.repetition == 2}
    assert "dram" in repeated
    measured = Counter(m.probe for m in found if m.seconds)
    # what can be measured at all on a datasheet, each with its share
    assert all(measured[name] > 0 for name in ("bandwidth", "peak", "intensity", "gemm", "attention", "layer"))
    assert all(0 < each.cases <= each.of for each in unreached)
    assert len({each.probe for each in unreached}) == len(unreached), "said once per probe"
    assert not any("budget" in m.skip and "spent" in m.skip for m in found), "not once per case"


def sweeps(device, probe, level):
    """Points by sweep: cases that differ in one size only."""
    axes = ("bytes", "batch", "keys", "queries", "fmas")
    found = {}
    for each in describe(device.info, probe, QUICK.at(level)):
        if not (each.search or each.skip) and each.params.get("phase") != "prefill":
            axis = next((a for a in axes if a in each.params), "")
            rest = tuple((k, v) for k, v in each.params.items() if k != axis)
            found.setdefault((axis, rest), set()).add(each.params.get(axis))
    return {key: values for key, values in found.items() if len(values) > 1}


def test_every_sweep_of_a_node_has_five_points_in_a_quick_run():
    """Of eight GPUs with realistic wall costs, in what opening, all-reduce and report leave of 45 s."""
    device = open_simulated(f"sim:h200-sxm,gpus=8,{COST}")[0]
    alone = [p for p in select([]) if not p.together]
    found, _ = told(device, alone, QUICK, seconds=24.0)
    assert device.now() <= 24.0 + 4.0 + 0.5
    done = {m.key for m in found}
    for each in alone:
        for (axis, rest), values in sweeps(device, each, 2).items():
            reached = {v for v in values if any(dict(k[2]).get(axis) == v and k[0] == each.name for k in done)}
            assert len(reached) >= min(5, len(values)), (each.name, axis, rest)


def test_nothing_of_a_node_is_left_out_of_a_standard_run():
    device = open_simulated(f"sim:h200-sxm,gpus=8,{COST}")[0]
    found, unreached = told(device, [p for p in select([]) if not p.together], BUDGETS["standard"], seconds=154.0)
    assert {each.probe for each in unreached} <= {"sustained"}
    assert device.now() <= 154.0 + 4.0 + 1.0
    stated = {m.key for m in found if m.regime == "sustained"}
    assert all(each.of - each.cases == len(stated) for each in unreached), "roofs, not visits"
    counted = Counter(m.saturates for m in found if m.regime == "sustained")
    assert counted["tensor.bfloat16.library"] == counted["dram"] == 3
    rounds = Counter(m.key for m in found if m.saturates == "dram" and m.regime == "burst" and m.repetition > 1)
    assert max(rounds.values()) == 5, "an interval, not a range"


def test_no_probe_starves_another():
    """A probe of costly cases and one of cheap ones, and time for a tenth: both have about half of it."""
    spent = Counter()

    def costly(info, budget):
        for at in budget.thin(range(1000)):
            yield Case(params={"costly": at}, work=Work(bytes=4.8e12 * 0.02), prepare=ready)

    def cheap(info, budget):
        for at in budget.thin(range(1000)):
            yield Case(params={"cheap": at}, work=Work(bytes=4.8e12 * 0.002), prepare=ready)

    def named(cases):
        return Probe(cases.__name__, 1, cases)

    device = open_simulated("sim:h200-sxm")[0]
    for m in session(device, [named(costly), named(cheap)], timed("t", 100.0), seconds=10.0):
        spent[m.probe] += m.elapsed
    assert 0.6 < spent["costly"] / spent["cheap"] < 1.7


def test_sniff_measures_the_headline_roofs_and_nothing_else():
    device = open_simulated(f"sim:h200-sxm,{COST}")[0]
    begun = device.now()
    found, unreached = told(device, select([]), BUDGETS["sniff"])
    assert {m.saturates for m in found if m.repetition} == {"dram", "tensor.bfloat16.library"}
    assert device.now() - begun <= 8.5
    assert unreached == ()


def test_a_plan_counts_without_measuring():
    device = open_simulated("sim:h200-sxm")[0]
    info = replace(device.info, simulated=False)
    found = {plan.probe.name: plan for plan in plans(info, select([]), QUICK)}
    assert found["gemm"].cases > 10
    assert found["allreduce"].skipped == 1
    assert found["peak"].seconds > 0


def test_a_working_set_is_under_the_roof_of_the_cache_that_serves_part_of_it():
    caches = (Cache("l1", 64 << 10), Cache("l2", 2 << 20), Cache("l3", 32 << 20))
    info = replace(open_simulated("sim:t4")[0].info, caches=caches)
    found = [
        info.level(size) for size in (1, 128 << 10, (128 << 10) + 1, 4 << 20, (4 << 20) + 1, 128 << 20, (128 << 20) + 1)
    ]
    assert found == ["l1", "l1", "l2", "l2", "l3", "l3", "dram"]


def test_the_sustained_regime_comes_last_the_headline_first_and_unshuffled():
    device = open_simulated("sim:h200-sxm")[0]
    found = list(session(device, select(["bandwidth", "onchip", "peak"]), replace(BUDGETS["standard"], seconds=1000.0)))
    regimes = [m.regime for m in found]
    assert regimes == sorted(regimes)  # "burst" before "sustained"
    lasting = [m for m in found if m.regime == "sustained"]
    rounds = [[m.saturates for m in lasting if m.repetition == r] for r in sorted({m.repetition for m in lasting})]
    assert len(rounds) == BUDGETS["standard"].sustained_rounds
    assert all(each[:2] == ["tensor.bfloat16.library", "dram"] for each in rounds), "these have all rounds"
    assert len([m for m in lasting[:6] if m.saturates in ("tensor.bfloat16.library", "dram")]) == 6, "and first"
    assert {"dram", "shared", "vector.float32.loop", "tensor.float8_e4m3.fast_accum.library"} <= set(rounds[0])
    assert not {"tensor.bfloat16.loop", "vector.float32.library"} & set(rounds[0])


@pytest.mark.parametrize("sizes", [(1e9, 1e7), (1e7, 1e9)])
def test_of_two_claims_for_a_roof_the_faster_is_visited_under_lasting_load(sizes):
    """The launch's overhead costs the smaller one most of its rate."""

    def cases(info, budget):
        for size in sizes:
            yield Case(params={"size": size}, work=Work(bytes=size), prepare=ready, saturates="dram")

    device = open_simulated("sim:h200-sxm,overhead=10us")[0]
    found = list(session(device, [probe(cases)], replace(BUDGETS["standard"], seconds=1000.0)))
    assert {m.params["size"] for m in found if m.regime == "sustained"} == {1e9}


def test_a_restart_within_the_sustained_regime_goes_on_there():
    device = open_simulated("sim:h200-sxm")[0]
    whole = list(session(device, select(["peak"]), BUDGETS["standard"]))
    done = {m.repetition_key: m.median for m in whole[:-3]}
    again = list(session(open_simulated("sim:h200-sxm")[0], select(["peak"]), BUDGETS["standard"], history=done))
    assert [m.repetition_key for m in again] == [m.repetition_key for m in whole[-3:]]


def test_a_steady_device_has_no_sustained_regime():
    device = open_simulated("sim:h200-sxm")[0]
    device.info = replace(device.info, regime="steady")
    found = session(device, select(["peak"]), BUDGETS["standard"])
    assert not [m for m in found if m.regime == "sustained"]


@pytest.mark.parametrize("seconds", [50, 70, 100])
def test_what_is_left_over_after_the_rounds_adds_no_claim_that_they_lack(seconds):
    """A search that went on after the rounds once left its roof, and the ladder its knee, without a repetition."""
    from bench.analysis.fit import _fit
    from bench.analysis.summary import summaries

    device = open_simulated(f"sim:h200-sxm,noise=0.002:0.007,{COST}")[0]
    found, _ = told(device, select(["bandwidth", "peak", "intensity", "gemm"]), timed("t", 300.0), seconds=seconds)
    fitted = _fit(device.info, summaries(found))
    assert all(roof.n >= 1 and "one repetition" not in roof.caution for roof in fitted.roofline.roofs)
    assert fitted.knees["float32"]
    late = max(i for i, m in enumerate(found) if m.repetition > 1 and m.regime != "sustained")
    assert not [m for m in found[late:] if m.saturates and m.repetition < 2]


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_a_restart_still_has_its_rounds(share):
    """What is replayed once cost nothing, so that nothing was set aside for the rounds."""
    spec, chosen, budget = f"sim:h200-sxm,{COST}", select(["bandwidth", "peak", "gemm", "attention"]), timed("t", 60.0)
    device = open_simulated(spec)[0]
    begun, history = device.now(), {}
    for m in session(device, chosen, budget):
        if device.now() - begun > share * budget.seconds:
            break
        history[m.repetition_key] = m.median if m.seconds else None
    again = open_simulated(spec)[0]
    left = (1 - share) * budget.seconds
    found, _ = told(again, chosen, budget, history=history, seconds=left, whole=budget.seconds)
    reached = {m.repetition for m in found if m.saturates == "dram"} | {turn[2] for turn in history}
    assert {2, 3, 4} <= reached


def test_a_restart_under_lasting_load_goes_on_there():
    spec, chosen, budget = f"sim:h200-sxm,{COST}", select(["bandwidth", "peak", "attention"]), BUDGETS["standard"]
    history = {}
    for m in session(open_simulated(spec)[0], chosen, budget):
        history[m.repetition_key] = m.median if m.seconds else None
        if m.regime == "sustained":
            break
    found, _ = told(open_simulated(spec)[0], chosen, budget, history=history, seconds=30.0, whole=budget.seconds)
    assert [m.regime for m in found if m.seconds] == ["sustained"] * len([m for m in found if m.seconds])
    assert len(found) >= 3


def test_a_plateau_that_was_reached_leaves_nothing_to_reach():
    """The rungs beyond it were once counted as missed, because other probes had some left."""
    device = open_simulated("sim:h200-sxm")[0]
    _, unreached = told(device, select(["intensity", "gemm"]), QUICK, seconds=2.0)
    assert {each.probe for each in unreached} == {"gemm"}
