"""Cold cases are cold: what a launch reads and what it writes comes round again only after four last levels of others.

Every probe's cold cases are really run on this host, as if its last level were small, and each tensor's address is
followed through the ring.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import torch

from bench.measure.budget import BUDGETS
from bench.measure.device import cpu
from bench.measure.device.protocol import Unsupported
from bench.measure.device.sim import open_simulated
from bench.measure.probes import describe, probes
from bench.measure.timing import measure
from bench.measure.workloads import layers
from bench.measure.workloads.layers import Span
from bench.schema import Cache, Case, Kept, Setup
from bench.work import Work

# Scalars (a sum, a token, a scale) are no traffic.
SLACK = 64
LAST = 256 << 10


@pytest.fixture(scope="module")
def device():
    """This host, with a last level so small that a ring over it takes no time."""
    found = cpu.open_cpu(seed=4)
    found.info = replace(found.info, caches=(Cache("l1", 16 << 10), Cache("l3", LAST)), memory_bytes=4 << 30)
    return found


def tensors(value) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, partial):
        yield from tensors((value.args, tuple(value.keywords.values())))
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from tensors(each)


def addresses(launch: partial) -> set[int]:
    """Where a launch reads and writes: its arguments, and its results wherever torch put them."""
    touched = list(tensors(launch))
    if getattr(launch.func, "__name__", "") in ("_grouped", "_looped") or "_looped" in repr(launch.func):
        # all launches are given all experts; each of them reads those that have rows
        rows, up, down, ends = launch.args[-4:]
        begins = [0, *ends.tolist()[:-1]]
        busy = [i for i, (begin, end) in enumerate(zip(begins, ends.tolist(), strict=True)) if end > begin]
        touched = [rows, *(weights[i] for i in busy for weights in (up, down))]
    touched += tensors(launch())
    return {tensor.data_ptr() for tensor in touched if tensor.numel() * tensor.element_size() > SLACK}


def shortest_way_round(launches, moved: float) -> float:
    """Bytes that pass at least between two uses of one address, over three rounds of the ring."""
    last: dict[int, int] = {}
    shortest = float("inf")
    for at, launch in enumerate([*launches] * 3):
        for address in addresses(launch):
            if address in last:
                shortest = min(shortest, (at - last[address]) * moved)
            last[address] = at
    return shortest


def kinds(device, name: str) -> list[Case]:
    """The smallest cold case of each kind that a probe has: of the same words among its params."""
    found: dict[tuple, Case] = {}
    for case in describe(device.info, probes()[name], BUDGETS["standard"]):
        kind = tuple(value for value in case.params.values() if isinstance(value, (str, bool)))
        if case.cache == "cold" and not case.skip and case.work.bytes <= 64 << 20 and case.work.flops < 3e8:
            found[kind] = min(found.get(kind, case), case, key=lambda each: each.work.bytes)
    return list(found.values())


@pytest.mark.parametrize("name", [name for name, probe in probes().items() if not probe.together])
def test_nothing_comes_round_before_four_last_levels_have_passed(device, small, name):
    audited = 0
    for case in kinds(device, name):
        try:
            setup = case.prepare(device)
        except Unsupported:
            continue  # a method that this torch does not have here
        assert shortest_way_round(setup.launches, case.work.bytes) >= 4 * LAST, case.params
        audited += 1
    assert audited or name in ("onchip", "latency", "launch", "hostcopy"), "only these have no cold cases"


@pytest.mark.parametrize("span", [Span(2, 1, 64), Span(1, 16, 16)], ids=["decode", "prefill"])
def test_a_layer_and_its_parts_write_to_cold_buffers(device, toy, span):
    """In float32 too, where a cast is none and a result might be a view of what it was made from."""
    whole = layers.setup(toy, [span], "float32", device)
    assert len(whole.launches) > 3
    assert shortest_way_round(whole.launches, layers.whole(toy, [span], "float32", "vector").bytes) >= 4 * LAST
    for name, (_, demand) in layers.parts(toy, [span], "float32", "vector").items():
        setup = layers.part_setup(toy, span, name, demand.bytes, "float32", device)
        assert len(setup.launches) > 3
        assert shortest_way_round(setup.launches, demand.bytes) >= 4 * LAST, name


def test_the_audit_finds_an_output_that_does_not_rotate(device):
    """The planted fault: inputs rotate, and every launch writes to one block."""
    size, sets = 64 << 10, 40
    inputs, out = [torch.zeros(size // 4) for _ in range(sets)], torch.zeros(size // 4)
    assert shortest_way_round([partial(torch.neg, x, out=out) for x in inputs], 2 * size) == 2 * size
    assert shortest_way_round([Kept(torch.neg, x) for x in inputs], 2 * size) >= (sets - 1) * 2 * size


def stream(size: int, sets: int, **more) -> Case:
    """A cold case of so many bytes a launch, with a ring of so many sets."""
    launches = [partial(torch.neg, torch.zeros(size // 8), out=torch.zeros(size // 8)) for _ in range(sets)]
    return Case(params={"bytes": size}, work=Work(bytes=float(size)), prepare=lambda _: Setup(launches), **more)


BRIEF = replace(BUDGETS["quick"], case=0.002, headline=0.002, min_samples=3)


def test_a_ring_too_small_to_be_cold_is_hot_by_its_record(device):
    """Four last levels are the least: what is re-read earlier is a cache's doing and no evidence for the memory."""
    short = measure(device, "p", 1, stream(LAST, 3, saturates="dram"), BRIEF)
    assert (short.cache, short.saturates, short.work.channel) == ("hot", "", "l3")
    assert short.notes["cache"] == "hot: the ring's 3 sets of buffers are 768 KiB, which l3 keeps"
    inner = measure(device, "p", 1, stream(4096, 2), BRIEF)
    assert (inner.cache, inner.work.channel) == ("hot", "l1")
    claims = measure(device, "p", 1, stream(LAST, 3, saturates="vector.float32.library"), BRIEF)
    assert claims.saturates == "vector.float32.library", "a compute roof asks for no cold memory"


@pytest.mark.parametrize(("size", "sets"), [(LAST, 5), (5 * LAST, 1)], ids=["a ring", "one launch"])
def test_what_goes_through_four_last_levels_is_cold(device, size, sets):
    found = measure(device, "p", 1, stream(size, sets, saturates="dram"), BRIEF)
    assert (found.cache, found.saturates, found.work.channel, found.notes) == ("cold", "dram", "dram", {})


def test_what_is_asked_for_as_hot_stays_as_it_is(device):
    case = replace(stream(4096, 1, saturates="l1", cache="hot"), work=Work(bytes=4096.0, channel="l1"))
    found = measure(device, "p", 1, case, BRIEF)
    assert (found.cache, found.saturates, found.work.channel, found.notes) == ("hot", "l1", "l1", {})


def test_the_ring_that_a_host_is_given_is_never_short_but_by_its_cap(device, monkeypatch):
    for size in (4096, LAST, 4 * LAST, 5 * LAST):
        assert device.info.level(size * device.rotation(size, "cold")) == "dram"
    monkeypatch.setattr(cpu, "_MAX_RING", 16)
    case = next(c for c in describe(device.info, probes()["bandwidth"], BRIEF) if c.params["bytes"] == 8192)
    found = measure(device, "bandwidth", 3, case, BRIEF)
    assert found.usable
    assert (found.cache, found.work.channel) == ("hot", "l3")


def test_a_simulated_device_has_no_ring_to_be_short():
    """Its virtual clock says what memory takes; a record that said l2 would not come back as the datasheet."""
    simulated = open_simulated("sim:h200-sxm")[0]
    cases = describe(simulated.info, probes()["bandwidth"], BUDGETS["quick"])
    for case in (case for case in cases if case.cache == "cold"):
        found = measure(simulated, "bandwidth", 3, case, BUDGETS["quick"])
        assert (found.cache, found.work, found.saturates) == ("cold", case.work, case.saturates)


def test_a_sample_has_the_launches_that_a_case_asks_for(device):
    assert measure(device, "p", 1, stream(5 * LAST, 1, batch=40), replace(BRIEF, sample=1e-9)).launches == 40
