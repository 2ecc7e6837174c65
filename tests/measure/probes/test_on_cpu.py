"""Every probe for real on this host: one case of each kind, its result checked against its oracle.

Nothing here depends on how busy the host is: no probe has a share of a clock to lose, and no time is judged. Which
cases a session takes and which it leaves is tested on simulated devices, whose clock is their own.
"""

import math
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from functools import partial

import pytest
import torch

from bench.measure.budget import BUDGETS
from bench.measure.device import cpu
from bench.measure.device.protocol import CheckFailed, Device, Unsupported
from bench.measure.device.sim import open_simulated
from bench.measure.probes import Probe, describe, probes
from bench.measure.timing import measure
from bench.schema import Cache, Case, Measurement
from tests.measure.verify.virtual import Faulty

# Three samples, however long they take.
BRIEF = replace(
    BUDGETS["quick"], case=0.004, headline=0.004, launch=math.inf, memory=1 / 256, min_samples=3, max_samples=3
)
# FLOP of one launch that any host finishes within a part of a second, alone or not.
MOST = 2e9
# What a host has no part of; each of these probes says so in one skip.
ABSENT = ("onchip", "launch", "hostcopy")
ALONE = [name for name, probe in probes().items() if not probe.together]


@pytest.fixture(scope="module")
def device():
    return cpu.open_cpu(seed=1)


def kinds(device: Device, probe: Probe) -> Iterator[Case]:
    """The least work of each kind, if it is small or claims a roof of the probe's own loops, or else the least of all:
    words among a case's params tell kinds apart, numbers are sizes.
    """
    found: dict[tuple, Case] = {}
    for case in describe(device.info, probe, BRIEF):
        kind = (case.cache, *(value for value in case.params.values() if isinstance(value, str)))
        found.setdefault(kind, case)
        if (case.work.flops, case.work.bytes) < (found[kind].work.flops, found[kind].work.bytes):
            found[kind] = case
    least = sorted(found.values(), key=lambda case: case.work.flops)
    yield from [case for case in least if case.work.flops <= MOST or case.saturates.endswith(".loop")] or least[:1]


def measured(device: Device, name: str) -> list[Measurement]:
    probe = probes()[name]
    return [measure(device, name, probe.version, case, BRIEF) for case in kinds(device, probe)]


@pytest.mark.parametrize("name", ALONE)
def test_a_probe_measures_here(device, name):
    found = measured(device, name)
    wrong = [(m.params, m.reasons) for m in found if m.validity == "invalid"]
    assert not wrong
    assert any(m.seconds for m in found) or name in ABSENT
    assert all(s > 0 for m in found for s in m.seconds)
    assert all(m.skip for m in found if not m.seconds)


class Wrong(Faulty):
    """A device whose kernels do nothing, or fill their output; one set of buffers is enough to see that."""

    rank, world = 0, 2

    def __init__(self, device, info):
        super().__init__(device)
        self.info, self.filled = info, None

    def kernel(self, *arguments):
        if self.filled is not None:
            [tensor for tensor in arguments if isinstance(tensor, torch.Tensor)][-1].fill_(self.filled)

    def load(self, kernel):
        return self.kernel

    def all_reduce(self, tensor, algorithm):
        return partial(self.kernel, tensor)

    def duplex(self, one, other):
        return partial(self.kernel, other.args[0])

    def host(self, *shape, dtype, memory):
        return self.empty(*shape, dtype=dtype)

    def rotation(self, launch_bytes, cache):
        return 1


class Broken(partial):
    """A launch of torch's that writes elsewhere and returns the opposite of its result."""

    def __call__(self):
        args, keywords = deepcopy((self.args, self.keywords))
        return opposite(self.func(*args, **keywords))


def opposite(result):
    if isinstance(result, (tuple, list)):
        return type(result)(map(opposite, result))
    return None if result is None else -result


def notices(check, own):
    """Whether a check is there and finds its launches broken; own: the kernel that is so anyway."""

    def broken(found):
        torchs = isinstance(found, partial) and found.func != own
        return Broken(found.func, *found.args, **found.keywords) if torchs else found

    try:
        if check:
            check.func(*map(broken, check.args), **check.keywords)
    except CheckFailed:
        return True
    return False


# capacity's is found by a test of its own; an empty kernel has no result
OTHERS = [name for name in probes() if name not in ("capacity", "launch")]


@pytest.mark.parametrize("name", [*OTHERS, "peak of a GPU"])
def test_a_broken_kernel_is_found_by_the_check_of_every_case(device, small, name):
    info = replace(device.info, caches=(Cache("l1", 16 << 10), Cache("l3", 256 << 10)), memory_bytes=4 << 30)
    name, *other = name.split(" of ")
    if other or name in ABSENT or probes()[name].together:
        info = replace(open_simulated("sim:h200-sxm,gpus=2")[0].info, simulated=False, loops={})
    found, wrong = {}, Wrong(device, info)
    for case in (case for case in kinds(wrong, probes()[name]) if not case.skip):
        with suppress(Unsupported):
            check, wrong.filled = case.prepare(wrong).check, None
            found[str(case.params), "nothing"] = notices(check, wrong.kernel)
            wrong.filled = 1
            found[str(case.params), "ones"] = notices(check, wrong.kernel)
    assert found
    assert [params for params, noticed in found.items() if not noticed] == []


def test_every_roof_is_claimed(device):
    claims = {case.saturates for name in ALONE for case in describe(device.info, probes()[name], BRIEF)} - {""}
    assert {"dram", "vector.float32.loop", "vector.float64.loop"} <= claims
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
    # a twin of a long loop is some hundred passes of torch: what is not float32 adds nothing but time
    found = [
        measure(bare, name, 1, case, BRIEF)
        for name in ("bandwidth", "peak", "intensity")
        for case in kinds(bare, probes()[name])
        if case.work.dtype in ("", "float32")
    ]
    assert {m.probe for m in found if m.seconds} == {"bandwidth", "peak", "intensity"}
    assert any(m.params.get("kind") == "loop" for m in found if m.seconds)
    assert not [m.reasons for m in found if m.validity == "invalid"]


def test_memory_beyond_the_machine_is_a_skip_not_a_death(device):
    from bench.measure.device.protocol import OutOfMemory

    with pytest.raises(OutOfMemory, match="out of memory"):
        device.empty(1 << 45, dtype="float32")
