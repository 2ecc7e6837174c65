from dataclasses import replace
from functools import partial

from bench.device.sim import open_simulated
from bench.measure import BUDGETS
from bench.probes import Probe, select
from bench.schema import Cache, Case, Setup
from bench.session import plans, session
from bench.work import Work

QUICK = BUDGETS["quick"]


def ready(device):
    return Setup([partial(int)])


def probe(cases):
    return Probe("planted", 1, False, False, False, cases)


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
    assert heard == [1e6 / 4.8e12, 2e6 / 4.8e12]


def test_a_hopeless_case_is_predicted_and_skipped():
    heard = []

    def cases(info, budget):
        for size in (1e9, 1e15):
            heard.append((yield Case(params={"size": size}, work=Work(bytes=size), prepare=ready)))

    device = open_simulated("sim:h200-sxm")[0]
    found = list(session(device, [probe(cases)], QUICK))
    assert found[1].skip.startswith("predicted to take 3 min 28 s a launch at the best rate seen (size 1000000000.0)")
    assert heard[1] is None


def test_history_replays_what_an_earlier_process_did():
    def run(history=None):
        return list(session(open_simulated("sim:h200-sxm")[0], select(["bandwidth", "peak"]), QUICK, history=history))

    whole = run()
    for cut in (0, 1, 40, len(whole) - 5):
        done = {m.turn: m.median if m.seconds else None for m in whole[:cut]}
        assert [(m.key, m.repetition) for m in run(done)] == [(m.key, m.repetition) for m in whole[cut:]]


def test_a_spent_budget_skips_ordinary_cases_only():
    device = open_simulated("sim:h200-sxm")[0]
    found = list(session(device, select(["bandwidth", "gemm"]), replace(QUICK, total=-1.0)))
    assert any("was spent before it" in m.skip for m in found)
    assert any(m.saturates == "dram" and m.seconds for m in found)
    assert all("was spent before it" in m.skip for m in found if m.probe == "gemm")


def test_a_search_is_never_cut_short():
    """What is left of it would claim the roof."""
    device = open_simulated("sim:h200-sxm")[0]
    found = list(session(device, select(["peak"]), replace(QUICK, total=-1.0)))
    shapes = {m.params.get("m", 0) for m in found if m.params["dtype"] == "bfloat16" and m.seconds}
    assert max(shapes) == 16384


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
    found = list(session(device, select(["bandwidth", "onchip", "peak"]), BUDGETS["standard"]))
    regimes = [m.regime for m in found]
    assert regimes == sorted(regimes)  # "burst" before "sustained"
    lasting = [m for m in found if m.regime == "sustained"]
    rounds = [[m.saturates for m in lasting if m.repetition == r] for r in sorted({m.repetition for m in lasting})]
    assert len(rounds) == BUDGETS["standard"].sustained_rounds
    assert all(each == rounds[0] for each in rounds)
    assert rounds[0][0] == "tensor.bfloat16.library"
    assert {"dram", "shared", "vector.float32.loop", "tensor.float8_e4m3.fast_accum.library"} <= set(rounds[0])
    assert not {"tensor.bfloat16.loop", "vector.float32.library"} & set(rounds[0])


def test_a_restart_within_the_sustained_regime_goes_on_there():
    device = open_simulated("sim:h200-sxm")[0]
    whole = list(session(device, select(["peak"]), BUDGETS["standard"]))
    done = {m.turn: m.median for m in whole[:-3]}
    again = list(session(open_simulated("sim:h200-sxm")[0], select(["peak"]), BUDGETS["standard"], history=done))
    assert [m.turn for m in again] == [m.turn for m in whole[-3:]]


def test_a_steady_device_has_no_sustained_regime():
    device = open_simulated("sim:h200-sxm")[0]
    device.info = replace(device.info, regime="steady")
    found = session(device, select(["peak"]), BUDGETS["standard"])
    assert not [m for m in found if m.regime == "sustained"]
