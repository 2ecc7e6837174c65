"""Every probe for real on this host, at a small budget: results checked against their oracles, nothing lost."""

from dataclasses import replace

import pytest

from bench.budget import BUDGETS
from bench.device import cpu
from bench.probes import probes
from bench.session import session

TINY = replace(
    BUDGETS["quick"],
    case=0.004,
    headline=0.004,
    launch=0.05,
    rounds=2,
    levels=(1,),
    memory=1 / 256,
    # as long as a busy machine takes: which cases there are is decided by no clock
    seconds=3600.0,
    min_samples=3,
)
# What a host has no part of; each of these probes says so in one skip.
ABSENT = ("onchip", "launch", "hostcopy")


@pytest.fixture(scope="module")
def device():
    return cpu.open_cpu(seed=1)


@pytest.fixture(scope="module")
def found(device):
    alone = [probe for probe in probes().values() if not probe.together]
    return list(session(device, alone, TINY))


@pytest.mark.parametrize("name", [name for name, probe in probes().items() if not probe.together])
def test_a_probe_measures_here(found, name):
    mine = [m for m in found if m.probe == name]
    wrong = [m for m in mine if m.validity == "invalid"]
    assert not wrong, [(m.params, m.reasons) for m in wrong]
    measured = [m for m in mine if m.seconds]
    assert measured or name in ABSENT
    assert all(s > 0 for m in measured for s in m.seconds)
    assert all(m.skip for m in mine if not m.seconds)


def test_every_roof_is_claimed_and_repeated(found, device):
    claims = {m.saturates for m in found if m.seconds and m.repetition == 2} - {""}
    assert {"dram", "vector.float32.loop", "vector.float64.loop", "vector.float32.library"} <= claims
    assert {cache.name for cache in device.info.caches} <= claims


def test_the_seed_gives_the_same_data():
    one, same, other = (cpu.open_cpu(seed).random(1000, dtype="float32") for seed in (1, 1, 2))
    assert one.equal(same)
    assert not one.equal(other)


def test_random_data_is_uniform_for_every_dtype(device):
    for dtype in ("float64", "float32", "float16", "bfloat16", "int8"):
        drawn = device.random(3, 500_000, dtype=dtype).double()
        high = 127 if dtype == "int8" else 1.0
        assert -high - 1 <= float(drawn.min()) < -0.9 * high
        assert 0.9 * high < float(drawn.max()) <= high
        assert abs(float(drawn.mean())) < 0.01 * high


def test_a_ring_is_larger_than_four_last_levels(device):
    beyond = 4 * device.info.last_level
    for size in (1 << 20, 10 << 20, beyond):
        assert device.rotation(size, "cold") * size >= beyond
    assert device.rotation(1 << 20, "hot") == 1


def test_the_ring_goes_on_where_the_last_sample_stopped(device):
    from functools import partial

    seen = []
    device.begin(None)
    ring = [partial(seen.append, index) for index in range(3)]
    device.time(None, ring, 2)
    device.time(None, ring, 2)
    assert seen == [0, 1, 2, 0]


def test_foreign_and_stolen_time_make_a_sample_suspect(device):
    cores = len(cpu.CORES)
    before = {"busy_s": 10.0, "steal_s": 1.0, "own_s": 5.0}
    mine = {"busy_s": 10.0 + cores, "steal_s": 1.0, "own_s": 5.0 + cores}
    assert device.judge({"before": before, "after": mine}, 1.0) == ("valid", ())
    foreign = mine | {"busy_s": mine["busy_s"] + 0.4 * cores}
    suspect = ("suspect", ("other processes took 40 % of the cores' time",))
    assert device.judge({"before": before, "after": foreign}, 1.0) == suspect
    stolen = mine | {"steal_s": 1.0 + 0.1 * cores}
    suspect = ("suspect", ("the hypervisor took 10 % of the cores' time",))
    assert device.judge({"before": before, "after": stolen}, 1.0) == suspect


def test_without_a_compiler_the_twins_measure_and_the_roof_says_so(monkeypatch):
    monkeypatch.setattr(cpu.cc, "compiler", lambda: None)
    bare = cpu.open_cpu()
    assert bare.info.stores == ("default",)
    assert "under-estimate" in bare.info.facts["caution"]
    chosen = [probes()[name] for name in ("bandwidth", "peak", "intensity")]
    found = list(session(bare, chosen, replace(TINY, case=0.001, headline=0.001, launch=1.0, rounds=1, levels=(0,))))
    assert {m.saturates for m in found if m.seconds} >= {"dram", "vector.float32.loop"}
    assert not [m.reasons for m in found if m.validity == "invalid"]


def test_memory_beyond_the_machine_is_a_skip_not_a_death(device):
    from bench.device import OutOfMemory

    with pytest.raises(OutOfMemory, match="out of memory"):
        device.empty(1 << 45, dtype="float32")
