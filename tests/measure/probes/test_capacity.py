"""The largest batch: predicted from sizes, really allocated within its share, and never a lie."""

from dataclasses import replace

import pytest
import torch

from bench.measure.budget import BUDGETS
from bench.measure.device import cpu
from bench.measure.device.protocol import CheckFailed, OutOfMemory, Unsupported
from bench.measure.device.sim import open_simulated
from bench.measure.probes import capacity as probe
from bench.measure.probes import describe, probes

SMALL = probe.Resident("small", 3 << 20, 4096)
CONTEXT = 1024  # 4 MiB of keys and values


@pytest.fixture
def device():
    return cpu.open_cpu(seed=1)


def prepared(device, most=40 << 20):
    return probe._prepare(SMALL, CONTEXT, 0.25, most, device)


def test_the_predicted_batch_is_allocated_within_the_allowance(device):
    setup = prepared(device)
    notes = setup.notes
    assert int(notes["predicted"]) == 9  # (40 - 3) / 4 MiB
    assert 1 <= int(notes["confirmed"]) == len(setup.launches) <= 9
    assert int(notes["sizes_bytes"]) == (3 << 20) + len(setup.launches) * (4 << 20) <= 40 << 20
    assert float(notes["room_bytes"]) == 40 << 20 < 0.25 * float(notes["free_bytes"])
    setup.check()


def test_never_more_than_a_quarter_of_the_free_host_memory(device, monkeypatch):
    monkeypatch.setattr(probe, "host_free", lambda: float(60 << 20))
    setup = prepared(device, most=1 << 40)
    assert setup.notes["predicted"] == "3"  # (15 - 3) / 4 MiB
    assert int(setup.notes["sizes_bytes"]) <= 15 << 20


def test_refused_memory_ends_the_allocation_and_is_said(device, monkeypatch):
    given, empty = [], device.empty

    def refusing(*shape, dtype):
        if len(given) == 5:  # the sum, the weights, three sequences
            raise OutOfMemory("out of memory: no more")
        given.append(shape)
        return empty(*shape, dtype=dtype)

    monkeypatch.setattr(device, "empty", refusing)
    setup = prepared(device)
    assert (setup.notes["confirmed"], setup.notes["stopped"]) == ("3", "out of memory: no more")
    setup.check()


def test_others_that_take_memory_meanwhile_end_it(device, monkeypatch):
    free = iter([float(1 << 30)] * 3)
    monkeypatch.setattr(probe, "host_free", lambda: next(free, 4e6))
    setup = prepared(device)
    assert setup.notes["stopped"] == "others took memory meanwhile"
    assert int(setup.notes["confirmed"]) == 2


def test_what_is_counted_from_outside_ends_it(device, monkeypatch):
    """An allocator that takes three times what it is asked for."""
    count = []
    monkeypatch.setattr(probe, "taken", lambda *_: count.append(1) or len(count) * (12 << 20))
    setup = prepared(device)
    assert setup.notes["stopped"] == "more is taken than the sizes add up to"
    assert int(setup.notes["confirmed"]) < 9


def test_weights_that_do_not_fit_are_a_skip_with_both_sizes(device):
    with pytest.raises(Unsupported, match="no 1024 tokens fit beside the weights of small"):
        prepared(device, most=6 << 20)


def test_one_memory_for_two_sequences_is_noticed(device, monkeypatch):
    empty, shared = device.empty, torch.empty(1 << 20)
    monkeypatch.setattr(
        device, "empty", lambda *shape, dtype: shared if shape == (1 << 20,) else empty(*shape, dtype=dtype)
    )
    with pytest.raises(CheckFailed, match="sequence 0 of"):
        prepared(device).check()


def test_the_batch_is_a_whole_number_and_0_where_the_weights_do_not_fit():
    model = probe.Resident("70B FP8", 70553706496, 327680)
    assert model.batch(141e9 * 0.9, 2048) == 83  # serving's golden value SLA-2
    assert model.batch(70e9, 2048) == 0
    assert model.batch(70553706496 + 2048 * 327680, 2048) == 1


def test_a_datasheet_predicts_and_confirms_nothing():
    device = open_simulated("sim:h200-sxm")[0]
    case = describe(device.info, probes()["capacity"], BUDGETS["quick"])[0]
    assert (case.params["model"], case.params["share"]) == ("llama-3.1-8b", 0.5)
    notes = case.prepare(device).notes
    room = 0.5 * device.info.memory_bytes
    assert int(notes["predicted"]) == (room - 2 * 8030261248) // (131072 * case.params["context"])
    assert "confirmed" not in notes


@pytest.mark.parametrize(("budget", "share"), [("quick", 0.5), ("standard", 0.5), ("soak", 0.8)])
def test_shares_by_budget(device, budget, share):
    gpu = open_simulated("sim:l4")[0].info
    assert {c.params["share"] for c in describe(gpu, probes()["capacity"], BUDGETS[budget])} == {share}
    assert probe._allowance(device.info, BUDGETS[budget])[0] == 0.25
    assert probe._allowance(device.info, BUDGETS["quick"])[1] == 1 << 30


def test_a_memory_too_small_for_any_sequence_is_a_skip_before_anything_is_allocated(device):
    info = replace(device.info, memory_bytes=128 << 20)
    assert all(case.skip for case in describe(info, probes()["capacity"], BUDGETS["standard"]))
