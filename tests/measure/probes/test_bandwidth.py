"""What the bandwidth probe asks for: launches beyond all caches, samples beyond all dirty lines, L2's fastest load."""

from contextlib import nullcontext
from dataclasses import replace

import pytest

from bench.measure.budget import BUDGETS
from bench.measure.device import cpu
from bench.measure.device.protocol import CheckFailed
from bench.measure.device.sim import open_simulated
from bench.measure.probes import cases_of, describe, probes
from bench.measure.probes.bandwidth import dram_bytes
from bench.schema import Cache, case_key
from bench.work import MIXES
from tests.measure.verify.virtual import Faulty

PROBE, STANDARD = probes()["bandwidth"], BUDGETS["standard"]


def gpu(l2: int, memory: int = 140 << 30, sms: int = 132):
    info = open_simulated("sim:h200-sxm")[0].info
    return replace(info, caches=(Cache("l2", l2),), memory_bytes=memory, sms=sms)


@pytest.mark.parametrize("l2", [40, 50, 60, 96, 126])
@pytest.mark.parametrize("memory", [24, 32, 80, 140, 288])
def test_a_launch_goes_through_eight_last_levels(l2, memory):
    """A card of 32 GB with an L2 of 96 MB had its eight rounded down to five."""
    size = dram_bytes(gpu(l2 << 20, memory << 30))
    assert size >= 8 * (l2 << 20)
    assert size <= (memory << 30) // 8
    assert size & (size - 1) == 0


def test_a_launch_is_no_larger_than_it_was_where_eight_last_levels_fit():
    assert dram_bytes(gpu(60 << 20)) == 2 << 30
    assert dram_bytes(replace(gpu(32 << 20), memory_bytes=16 << 30)) == 256 << 20


@pytest.mark.parametrize("l2", [50, 60, 96, 126])
def test_lines_still_dirty_are_below_half_a_percent_of_what_a_sample_writes(l2):
    info = gpu(l2 << 20)
    claims = [case for case in describe(info, PROBE, STANDARD) if case.saturates == "dram"]
    assert {case.params["mix"] for case in claims} == set(MIXES)
    for case in claims:
        words, _ = MIXES[case.params["mix"]]
        stored = 0 if case.params["mix"] == "read" else case.batch * case.work.bytes / words
        assert not stored or info.last_level <= 0.005 * stored, case.params
        # nor does it ask for more than it needs: a tenth of a second at 4 TB/s would cost a probe its rounds
        assert case.batch * case.work.bytes < 2 * (200 * 3 * info.last_level + case.work.bytes)
        assert stored or case.batch == 1


def test_a_host_asks_for_no_longer_samples():
    info = replace(gpu(32 << 20), host_memory=(), tuning={}, stores=("streaming", "plain"))
    assert {case.batch for case in describe(info, PROBE, STANDARD)} == {1}


def searched(info, fast) -> list:
    """The hot cases of a Run on a GPU that reads at fast(case) B/s."""
    generator, found = PROBE.cases(info, STANDARD), []
    case = next(generator)
    try:
        while True:
            found.append(case)
            case = generator.send(case.work.bytes / fast(case))
    except StopIteration:
        return [case for case in found if case.cache == "hot"]


def test_the_last_level_is_searched_for_its_fastest_load_and_its_near_half():
    """Loads past L1 at 5 TB/s, the default policy at 6, and half as fast again where a set lies in the near half."""
    info = gpu(60 << 20)

    def fast(case):
        near = 1.5 if case.params["bytes"] < 10 << 20 else 1.0
        return near * (6e12 if case.params.get("load_hint") == "default" else 5e12)

    cases = searched(info, fast)
    tried = {(case.params["load_hint"], case.params["bytes"]) for case in cases if case.search}
    assert {hint for hint, _ in tried} == {".cg", "default", ".L1::no_allocate"}
    sizes = {size for _, size in tried}
    assert len(tried) == 3 * len(sizes) == 9
    assert all(1 << 20 < size <= info.last_level // 2 and size % (info.sms * 16384) == 0 for size in sizes)
    claims = [case for case in cases if case.saturates == "l2"]
    assert [case.params["mix"] for case in claims] == ["read", "copy", "triad"]
    for case in claims:
        assert (case.params["load_hint"], case.params["bytes"]) == ("default", min(sizes))
        assert case.work.channel == "l2"
    read = claims[0]
    assert [case.params for case in cases if case.search].count(read.params) == 1, "the winner is measured again"
    kernel = read.prepare.args[0]
    assert kernel.defines == (("HINT", ""),)


def test_where_all_are_alike_the_default_load_and_half_of_the_level_claim_it():
    claims = [case for case in searched(gpu(60 << 20), lambda case: 5e12) if case.saturates]
    assert {case.params["load_hint"] for case in claims} == {".cg"}
    assert {case.params["bytes"] for case in claims} == {(60 << 20) // 2 // (132 * 16384) * 132 * 16384}


def test_a_gate_finds_the_winner_of_another_run():
    info = gpu(60 << 20)
    claim = next(
        case
        for case in searched(info, lambda case: 9e12 if case.params.get("load_hint") == ".L1::no_allocate" else 5e12)
        if case.saturates == "l2"
    )
    key = case_key("bandwidth", PROBE.version, claim.params)
    (found,) = cases_of(info, PROBE, [key], STANDARD)
    assert found.saturates == "l2"


def test_keys_depend_on_no_budget():
    info = gpu(60 << 20)
    quick = {tuple(c.params.items()) for c in describe(info, PROBE, BUDGETS["quick"])}
    assert quick <= {tuple(c.params.items()) for c in describe(info, PROBE, STANDARD)}
    claims = [
        {(c.saturates, tuple(c.params.items()), c.batch) for c in describe(info, PROBE, budget) if c.saturates}
        for budget in (BUDGETS["quick"], STANDARD)
    ]
    assert claims[0] == claims[1]


def test_a_device_without_settings_is_not_searched():
    info = replace(gpu(32 << 20), tuning={}, sms=0, caches=(Cache("l2", 2 << 20), Cache("l3", 32 << 20)))
    cases = searched(info, lambda case: 1e12)
    assert not [case for case in cases if case.search or "load_hint" in case.params]
    assert {(case.saturates, case.params["bytes"]) for case in cases if case.saturates} == {
        ("l2", 1 << 20),
        ("l3", 16 << 20),
    }


@pytest.mark.parametrize("lost", [0.0, 3e-5])
def test_a_read_that_leaves_out_a_few_of_a_million_elements_is_found(lost):
    class Losing(Faulty):
        def load(self, kernel):
            def run(x, out, n, passes):
                kernel.twin(x.double(), out, n, passes)
                out.mul_(1 - lost)

            return run

    host = Losing(cpu.open_cpu(seed=2))
    read = next(case for case in searched(gpu(60 << 20), lambda case: 5e12) if case.params["mix"] == "read")
    with pytest.raises(CheckFailed, match="sums to") if lost else nullcontext():
        read.prepare(host).check()
