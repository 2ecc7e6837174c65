"""Planted faults: each is found by the check that is there for it, run for real."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.measure.device import cc, cpu
from bench.measure.device.protocol import kernel_source
from bench.measure.probes import bandwidth, peak, probes
from bench.measure.verify import assumptions, timings, tried
from bench.schema import FAIL, PASS
from tests.measure.verify.virtual import (
    Capped,
    HostInTime,
    NeverRotates,
    OneOutput,
    OtherSm,
    VirtualGpu,
    WrongUnit,
)

needs_compiler = pytest.mark.skipif(cc.compiler() is None, reason="no C compiler")


@pytest.fixture(scope="module")
def host():
    return cpu.open_cpu(seed=3)


def outcome(device, name, rounds=8):
    return assumptions()[name].outcome(device, rounds)


@needs_compiler
def test_every_kernel_here_equals_its_twin(host):
    found = outcome(host, "kernels.twins")
    assert found.state == PASS, found
    kernels, launches = (int(word) for word in found.value.split() if word.isdigit())
    assert kernels >= 14
    assert launches >= 3 * (kernels - 1)


@needs_compiler
def test_a_kernel_that_skips_its_last_block(host, monkeypatch, tmp_path):
    source = kernel_source("stream", ".c").read_text()
    whole = "return n / CHUNK * thread / omp_get_num_threads() * CHUNK;"
    assert whole in source
    broken = tmp_path / "stream.c"
    broken.write_text(source.replace(whole, whole.replace("n / CHUNK", "(n / CHUNK - 1)")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cc, "kernel_source", lambda name, end: broken if name == "stream" else kernel_source(name, end))
    found = outcome(host, "kernels.twins")
    assert found.state == FAIL
    assert found.reason.startswith("stream.")
    assert "unwritten" in found.reason or "is off" in found.reason


@needs_compiler
def test_a_kernel_that_writes_beside_its_output(host, monkeypatch, tmp_path):
    source = kernel_source("fma", ".c").read_text()
    end = "long long end = vectors * (thread + 1) / count * LANES_##dtype;"
    assert end in source
    broken = tmp_path / "fma.c"
    broken.write_text(source.replace(end, end.replace("vectors * (thread", "(vectors + 1) * (thread")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cc, "kernel_source", lambda name, end: broken if name == "fma" else kernel_source(name, end))
    found = outcome(host, "kernels.twins")
    assert found.state == FAIL
    assert "fma." in found.reason
    assert "beside" in found.reason


@needs_compiler
def test_a_twin_that_is_wrong(host, monkeypatch):
    def twin(x, y, n, steps, a, b):
        y.copy_(x)
        for _ in range(steps - 1):
            y.mul_(a).add_(b)

    monkeypatch.setattr(peak, "fma_twin", twin)
    found = outcome(host, "kernels.twins")
    assert found.state == FAIL
    assert "fma." in found.reason


@needs_compiler
def test_a_kernel_that_reads_one_array_for_the_other(host, monkeypatch):
    """The suite's own random arrays are alike on a host: only fresh ones for each tell x from z."""
    monkeypatch.setitem(bandwidth._TWINS, "add", lambda x, z, y, n, passes: torch.add(x, x, out=y))
    found = outcome(host, "kernels.twins")
    assert found.state == FAIL
    assert "stream.add" in found.reason


def test_a_stopwatch_that_lets_the_host_in(host):
    assert outcome(host, "time.empty").state == PASS
    found = outcome(HostInTime(host), "time.empty")
    assert found.state == FAIL
    assert "5." in found.reason or "4.9" in found.reason


def test_a_stopwatch_that_lets_the_host_in_on_a_gpu():
    assert tried(VirtualGpu(), assumptions()["time.empty"]).state == PASS
    found = tried(HostInTime(VirtualGpu()), assumptions()["time.empty"])
    assert found.state == FAIL
    assert "3.00 µs more" in found.reason, "6 µs a node, where 3 are allowed"


@pytest.fixture
def streams(monkeypatch):
    """The buffers of one probe; all of them take seconds."""
    monkeypatch.setattr(timings, "probes", lambda: {"bandwidth": probes()["bandwidth"]})


def test_an_output_that_is_not_rotated(host, streams):
    assert outcome(host, "cache.buffers").state == PASS
    found = outcome(OneOutput(host), "cache.buffers")
    assert found.state == FAIL
    assert "bandwidth copy" in found.reason
    assert "50 %" in found.reason


def test_a_result_that_torch_hands_out_again_and_again(host, monkeypatch):
    from functools import partial

    from bench.schema import Case, Setup
    from bench.work import Work

    block = torch.empty(1 << 20)

    def negative(x):
        return torch.neg(x, out=block)  # as a caching allocator does on a GPU; a host's only does so at times

    def prepare(device):
        return Setup([partial(negative, device.random(1 << 20, dtype="float32")) for _ in range(2)])

    case = Case(params={"part": "negative"}, work=Work(bytes=8.0 * (1 << 20)), prepare=prepare)
    monkeypatch.setattr(timings, "_cold", lambda device: [("mine negative", case)])
    found = outcome(host, "cache.buffers")
    assert found.state == FAIL
    assert "mine negative: 50 %" in found.reason


def test_buffers_that_do_not_rotate_are_seen_by_time():
    assert tried(VirtualGpu(), assumptions()["cache.rotated"]).state == PASS
    found = tried(NeverRotates(VirtualGpu()), assumptions()["cache.rotated"])
    assert found.state == FAIL
    assert "still in a cache" in found.reason


def test_a_counter_in_the_wrong_unit(host):
    assert outcome(host, "time.counters").state == PASS
    found = outcome(WrongUnit(host), "time.counters")
    assert found.state == FAIL
    assert "own_s" in found.reason


@pytest.mark.parametrize(
    ("field", "factor"),
    [
        ("energy_j", 1e3),
        ("energy_j", 1e-3),
        ("power_w", 1e3),
        ("power_w", 1e-3),
        ("throttled_power_cap_s", 1e3),
        ("sm_clock_hz", 1e-6),
        ("at_s", 1e-3),
    ],
)
def test_a_field_in_the_wrong_unit(field, factor):
    device = VirtualGpu()
    assert outcome(device, "energy.fields").state == PASS
    device.units = {field: factor}
    found = outcome(device, "energy.fields")
    assert found.state == FAIL
    assert field in found.reason


def test_an_energy_counter_that_is_not_the_power(monkeypatch):
    monkeypatch.setattr("bench.measure.verify.sensors.WATCHED", 0.3)
    device = VirtualGpu()
    assert outcome(device, "energy.counter").state == PASS
    device.units = {"energy_j": 2.0}
    assert outcome(device, "energy.counter").state == FAIL


def test_a_clock_stamp_from_another_sm():
    assert tried(VirtualGpu(), assumptions()["clock.stamps"]).state == PASS
    assert tried(VirtualGpu(), assumptions()["clock.driver"]).state == PASS
    assert tried(OtherSm(), assumptions()["clock.stamps"]).state == FAIL


def test_work_that_is_left_out():
    assert tried(VirtualGpu(), assumptions()["time.linear_fma"]).state == PASS
    assert tried(VirtualGpu(), assumptions()["time.linear_copy"]).state == PASS
    assert tried(Capped(), assumptions()["time.linear_copy"]).state == FAIL


@needs_compiler
def test_a_loop_that_the_compiler_folded(tmp_path, monkeypatch):
    """With -ffast-math gcc may reassociate; here half of the chains are left out of the source."""
    from bench.measure.verify import work

    if not Path("/proc/cpuinfo").exists() or " fma " not in Path("/proc/cpuinfo").read_text():
        pytest.skip("reads x86-64 code with FMA")
    width = cc.integer("fma", "fma_lanes_float32") // cc.integer("fma", "fma_vector_float32")
    assert work.compared(work.disassembled("fma"), work.disassembled("stream"), width).state == PASS
    source = kernel_source("fma", ".c").read_text()
    loop = "for (int k = 0; k < chains; k++) r[k] = r[k] * va + vb;"
    assert loop in source
    broken = tmp_path / "fma.c"
    broken.write_text(source.replace(loop, loop.replace("k < chains", "k < (chains + 1) / 3")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = work.compared(work.disassembled("fma", cc.build(broken)), work.disassembled("stream"), width)
    assert found.state == FAIL


@needs_compiler
def test_a_copy_without_its_loads(tmp_path, monkeypatch):
    from bench.measure.verify import work

    if not Path("/proc/cpuinfo").exists() or " avx " not in Path("/proc/cpuinfo").read_text():
        pytest.skip("reads x86-64 code")
    broken = tmp_path / "stream.c"
    source = kernel_source("stream", ".c").read_text()
    broken.write_text(source.replace(": mix == COPY  ? *from", ": mix == COPY  ? a"))
    assert broken.read_text() != source
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    streams = work.disassembled("stream", cc.build(broken))
    width = cc.integer("fma", "fma_lanes_float32") // cc.integer("fma", "fma_vector_float32")
    found = work.compared(work.disassembled("fma"), streams, width)
    assert found.state == FAIL
    assert "copy" in found.reason


def test_machine_code_of_a_gpu(tmp_path, monkeypatch):
    """Compiled and read here, where NVRTC and nvdisasm are: no GPU takes part."""
    from bench.measure.device.protocol import DeviceError
    from bench.measure.verify import work

    try:
        found = work.sass("sm_90a", 132)
    except DeviceError as error:
        pytest.skip(str(error))
    if found.reason.startswith("nvdisasm is not here"):
        pytest.skip(found.reason)
    assert found.state == PASS, found
    source = kernel_source("fma", ".cu").read_text()
    broken = tmp_path / "fma.cu"
    broken.write_text(source.replace("return fmaf(r, a, b);", "return r;"))
    assert broken.read_text() != source
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(work, "kernel_source", lambda name, end: broken if name == "fma" else kernel_source(name, end))
    found = work.sass("sm_90a", 132)
    assert found.state == FAIL
    assert "fma_float32 has 0 FFMA" in found.reason


@needs_compiler
def test_a_witness_that_is_faster(host):
    """Ours does half as much again: the witness, which does not, is found to be faster."""
    from bench.measure.verify.launches import chains, steps
    from bench.measure.verify.rivals import race

    long = steps(host, 2e-3)
    found = race(12, 1.01, chains(host, 3 * long), chains(host, long))
    assert found.state == FAIL or found.reason.startswith("too noisy")


@needs_compiler
@pytest.mark.parametrize("factor", [0.5, 1, 1.5])
def test_a_latency_that_is_not_this_cpus(host, monkeypatch, factor):
    """And with it the clock that theory is stated at. A busy machine may show too little, never the contrary."""
    from bench.measure.device.host import cpuinfo
    from bench.theory import cpu as families

    known = families.find(cpuinfo())
    if known is None or "clock_hz" not in host.info.facts:
        pytest.skip("no table knows this CPU's family")
    wrong = replace(known, fma_latency_cycles=round(known.fma_latency_cycles * factor))
    monkeypatch.setattr(families, "find", lambda cpuinfo: wrong)
    found = outcome(host, "clock.chain", rounds=32)
    assert found.state != (FAIL if factor == 1 else PASS), found
