"""The host as a device: what it says of itself, by logic alone."""

import pytest

from bench.measure.device import cc, cpu


@pytest.mark.skipif(cc.compiler() is None, reason="no C compiler")
def test_its_clock_runs_one_chain_on_each_thread_there_is(monkeypatch):
    """A chain per core once ran two in a row where OpenMP had one thread, and the clock read half."""
    host, real, seen = cpu.open_cpu(), cc.integer, []
    monkeypatch.setattr(cpu, "CORES", tuple(range(8)))
    monkeypatch.setattr(cc, "integer", lambda name, of: 3 if of == "threads" else real(name, of))
    monkeypatch.setattr(cc, "function", lambda kernel: lambda x, y, n, *rest: seen.append(n))
    host._clock(type("Family", (), {"fma_latency_cycles": 4}))
    assert set(seen) == {3 * real("fma", "fma_vector_float32")}
