"""A known CPU family's peak is cores x clock x lanes x pipes x 2; anything unknown is None."""

import string
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.theory.cpu import families, find

AVX2 = "fpu sse2 avx avx2 fma"
AVX512 = f"{AVX2} avx512f avx512vl"


def x86(vendor: str, family: int, model: int, flags: str = AVX512, name: str = "") -> dict[str, str]:
    return {"vendor_id": vendor, "cpu family": str(family), "model": str(model), "model name": name, "flags": flags}


def arm(part: str, features: str = "fp asimd sve", implementer: str = "0x41") -> dict[str, str]:
    return {"CPU implementer": implementer, "CPU architecture": "8", "CPU part": part, "Features": features}


KNOWN = [
    (x86("AuthenticAMD", 23, 0x31, AVX2, "AMD EPYC 7742 64-Core Processor"), "zen2", 16),
    (x86("AuthenticAMD", 25, 1, AVX2, "AMD EPYC 7763 64-Core Processor"), "zen3", 16),
    (x86("AuthenticAMD", 25, 17, AVX512, "AMD EPYC 9654 96-Core Processor"), "zen4", 16),
    (x86("AuthenticAMD", 26, 2, AVX512, "AMD EPYC 9755 128-Core Processor"), "zen5", 32),
    (x86("GenuineIntel", 6, 63, AVX2, "Intel(R) Xeon(R) CPU E5-2680 v3 @ 2.50GHz"), "haswell", 16),
    (x86("GenuineIntel", 6, 79, AVX2, "Intel(R) Xeon(R) CPU E5-2686 v4 @ 2.30GHz"), "broadwell", 16),
    (x86("GenuineIntel", 6, 158, AVX2, "Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz"), "skylake", 16),
    (x86("GenuineIntel", 6, 85, AVX512, "Intel(R) Xeon(R) Platinum 8275CL CPU @ 3.00GHz"), "skylake-sp", 32),
    (x86("GenuineIntel", 6, 85, AVX512, "Intel(R) Xeon(R) Gold 6148 CPU @ 2.40GHz"), "skylake-sp", 32),
    (x86("GenuineIntel", 6, 106, AVX512, "Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz"), "icelake-sp", 32),
    (x86("GenuineIntel", 6, 143, AVX512, "Intel(R) Xeon(R) Platinum 8480C"), "sapphire-rapids", 32),
    (x86("GenuineIntel", 6, 207, AVX512, "INTEL(R) XEON(R) PLATINUM 8568Y+"), "emerald-rapids", 32),
    (x86("GenuineIntel", 6, 173, AVX512, "Intel(R) Xeon(R) 6960P"), "granite-rapids", 32),
    (x86("GenuineIntel", 6, 151, AVX2, "12th Gen Intel(R) Core(TM) i9-12900K"), "alder-lake", 16),
    (arm("0xd0c", "fp asimd"), "neoverse-n1", 8),
    (arm("0xd40"), "neoverse-v1", 16),
    (arm("0xd4f"), "neoverse-v2", 16),
]

UNKNOWN = [
    pytest.param({}, id="nothing known"),
    pytest.param(x86("AuthenticAMD", 23, 0x01, AVX2), id="Zen 1"),
    pytest.param(x86("AuthenticAMD", 26, 0x24), id="mobile Zen 5, narrower"),
    pytest.param(x86("AuthenticAMD", 99, 1), id="a future AMD"),
    pytest.param(x86("GenuineIntel", 6, 85, name="Intel(R) Xeon(R) Silver 4114 CPU @ 2.20GHz"), id="one FMA pipe"),
    pytest.param(x86("GenuineIntel", 6, 85, name="Intel(R) Xeon(R) CPU @ 2.00GHz"), id="name hidden"),
    pytest.param(x86("GenuineIntel", 6, 106, AVX2), id="AVX-512 masked"),
    pytest.param(x86("GenuineIntel", 6, 60, "fpu sse2"), id="Celeron without FMA"),
    pytest.param(x86("AuthenticAMD", 6, 63, AVX2), id="another vendor's model"),
    pytest.param({"vendor_id": "GenuineIntel", "cpu family": "6", "model": "143"}, id="no flags"),
    pytest.param(x86("GenuineIntel", 6, 143) | {"model": "unknown"}, id="not a number"),
    pytest.param(arm("0xd49"), id="Neoverse N2, not in the table"),
    pytest.param(arm("0xd4f", implementer="0x61"), id="another implementer's part"),
    pytest.param(arm("0xd40", "fp asimd"), id="SVE masked"),
]


@pytest.mark.parametrize(("cpuinfo", "key", "float64_flops"), KNOWN, ids=lambda v: v if isinstance(v, str) else "")
def test_known_families(cpuinfo, key, float64_flops):
    family = find(cpuinfo)
    assert family.key == key
    assert 2 * family.fma_pipes * family.lanes("float64") == float64_flops
    one = family.roofline(1, 1e9)
    assert one.roof("vector.float64").rate == float64_flops * 1e9
    assert one.roof("vector.float32").rate == 2 * float64_flops * 1e9


@pytest.mark.parametrize("cpuinfo", UNKNOWN)
def test_unknown_is_none(cpuinfo):
    assert find(cpuinfo) is None


def test_every_family_has_an_example():
    assert {key for _, key, _ in KNOWN} == {family.key for family in families()}


def test_a_socket_by_hand():
    """Two cores of Zen 5 at 3.9 GHz: the 500 GFLOP/s float32 that an FMA loop was seen to reach on such a machine."""
    line = find(x86("AuthenticAMD", 26, 2)).roofline(2, 3.9e9)
    assert line.roof("vector.float32").rate == 2 * 3.9e9 * 16 * 2 * 2 == pytest.approx(500e9, rel=2e-3)


def test_evidence_names_what_was_assumed():
    line = find(x86("AuthenticAMD", 25, 17)).roofline(96, 3.55e9)
    assert line.roof("vector.float32").evidence.startswith("assumed: 96 cores x 3.550 GHz x 8 lanes x 2 FMA pipes x 2 ")
    assert line.roof("vector.float64").evidence.startswith("assumed: 96 cores x 3.550 GHz x 4 lanes x 2 FMA pipes x 2 ")
    assert "confidence high" in line.roof("vector.float32").evidence


@pytest.mark.parametrize("family", families(), ids=lambda f: f.key)
def test_nothing_but_two_vector_roofs(family):
    line = family.roofline(4, 2.5e9)
    assert [roof.key for roof in line.roofs] == ["vector.float32.datasheet", "vector.float64.datasheet"]
    assert all(roof.n == 0 and roof.low == roof.high == roof.rate for roof in line.roofs)
    assert line.overhead == 0
    assert family.source
    assert family.confidence in ("high", "medium", "low")


def test_no_cpu_belongs_to_two_families():
    for a, b in combinations(families(), 2):
        if (a.vendor, a.family) == (b.vendor, b.family):
            assert all(low > high2 or low2 > high for low, high in a.models for low2, high2 in b.models), (a.key, b.key)


def test_efficiency_cores_are_cautioned():
    line = find(x86("GenuineIntel", 6, 151, AVX2)).roofline(8, 5e9)
    assert "P-cores" in line.roof("vector.float32").caution


@pytest.mark.parametrize(("cores", "clock_hz"), [(0, 1e9), (-1, 1e9), (1, 0.0), (1, -1.0), (1, float("nan"))])
def test_impossible_machines_are_refused(cores, clock_hz):
    with pytest.raises(ValueError, match="positive"):
        families()[0].roofline(cores, clock_hz)


@given(st.sampled_from(families()), st.integers(1, 1024), st.floats(1e8, 1e10))
def test_the_peak_is_proportional(family, cores, clock_hz):
    one = family.roofline(1, 1e9).roof("vector.float32").rate
    assert family.roofline(cores, clock_hz).roof("vector.float32").rate == pytest.approx(one * cores * clock_hz / 1e9)


FIELDS = (
    "vendor_id",
    "cpu family",
    "model",
    "model name",
    "flags",
    "CPU implementer",
    "CPU architecture",
    "CPU part",
    "Features",
)


@given(st.dictionaries(st.sampled_from(FIELDS), st.text(string.printable, max_size=20) | st.integers(0, 300).map(str)))
def test_no_cpuinfo_breaks_it(cpuinfo):
    assert find(cpuinfo) is None
