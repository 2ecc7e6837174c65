"""Every host kernel against its torch twin, as built for this CPU, for narrower ones, and by another compiler."""

import shutil
import time
from pathlib import Path

import pytest
import torch

from bench.measure.device import cc
from bench.measure.device.protocol import Kernel, Unsupported, kernel_source
from tests.kernels import twins

pytestmark = pytest.mark.skipif(cc.compiler() is None, reason="no C compiler")

CPU = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
SIZES = (1024, 7 * 1024, 5 * 2**20 + 1024)
# For what takes any n: less than a vector of some CPUs, around the groups of each body, one more than whole ones.
ODD = (1, 8, 95, 96, 97, 1000, 1024 + 8, 2**16 + 13)
LINE = 128  # bytes from one hop of a chase to the next
GUARD = 1024  # elements behind an output that no kernel may touch


def write(y, n, passes, value):
    y[:n] = value + torch.arange(n) % 16


def copy(x, y, n, passes):
    y[:n] = x[:n]


def scale(x, y, n, passes, a):
    y[:n] = a * x[:n]


def add(x, z, y, n, passes):
    y[:n] = x[:n] + z[:n]


def triad(x, z, y, n, passes, a):
    y[:n] = x[:n] + a * z[:n]


def chase(lines, at, n, hops):
    first, following = lines.data_ptr(), lines.view(-1, LINE // 8)[:, 0].tolist()
    for _ in range(hops):
        at.fill_(following[(at.item() - first) // LINE])


def chain(x, steps, a, b):
    """`steps` FMAs in closed form, in float64."""
    power = a**steps
    return power * x.double() + b * (power - 1) / (a - 1)


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(params=["native", "haswell", "x86-64", "clang"])
def target(request, cache, monkeypatch):
    """Each way to build; one that this machine cannot run is skipped."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    if request.param == "clang":
        if not (path := shutil.which("clang")):
            pytest.skip("no clang")
        monkeypatch.setattr(cc, "compiler", lambda: cc.Compiler(Path(path), "clang"))
    elif request.param != "native":
        if "avx2" not in CPU:
            pytest.skip("not an x86 CPU with AVX2")
        monkeypatch.setattr(cc, "NATIVE", (f"-march={request.param}",))
    return request.param


def host(name: str, function: str):
    return cc.function(Kernel(name, function, print, elements=1))


def outputs(n: int, dtype=torch.float32):
    """A poisoned output with its guard, twice: for the kernel and for its twin."""
    return torch.full((n + GUARD,), torch.nan, dtype=dtype), torch.full((n + GUARD,), torch.nan, dtype=dtype)


def agree(y, expected, **tolerance):
    torch.testing.assert_close(y, expected, equal_nan=True, **tolerance)


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("store", ["", "_plain"])
def test_stores_agree_with_their_twins(target, store, n, passes):
    x, z, a = torch.randn(n), torch.randn(n), 1.7
    for twin, inputs, reals in (
        (write, (), (0.25,)),
        (copy, (x,), ()),
        (scale, (x,), (a,)),
        (add, (x, z), ()),
        (triad, (x, z), (a,)),
    ):
        y, expected = outputs(n)
        host("stream", twin.__name__ + store)(*inputs, y, n, passes, *reals)
        twin(*inputs, expected, n, passes, *reals)
        agree(y, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("n", SIZES)
def test_read_counts_every_element_in_every_pass(target, n, passes):
    x = torch.randint(-8, 9, (n,)).float()
    out = torch.tensor([5.0, torch.nan], dtype=torch.float64)
    host("stream", "read")(x, out, n, passes)
    assert out[0].item() == 5 + passes * x.long().sum().item()
    assert out[1].isnan()


def test_read_stays_exact_where_float32_would_not(target):
    n, passes = 4096, 30_000
    out = torch.zeros(1, dtype=torch.float64)
    host("stream", "read")(torch.ones(n), out, n, passes)
    assert out.item() == n * passes


def test_read_agrees_with_float64(target):
    x, out = torch.rand(SIZES[-1]), torch.zeros(1, dtype=torch.float64)
    host("stream", "read")(x, out, x.numel(), 2)
    assert out.item() == pytest.approx(2 * x.double().sum().item(), rel=1e-6)


@pytest.mark.parametrize("steps", [0, 1, 7, 101])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_fma_agrees_with_the_closed_form(target, dtype, steps):
    try:
        function = host("fma", f"fma_{dtype}")
    except Unsupported:
        pytest.skip(f"no {dtype} FMA on this CPU")
    kind, a, b = getattr(torch, dtype), -0.75, 0.5
    saturated, vector = (cc.integer("fma", f"fma_{what}_{dtype}") for what in ("lanes", "vector"))
    threads = cc.integer("fma", "threads")
    assert saturated % vector == 0
    assert saturated >= 8 * vector
    whole = (vector, threads * vector, threads * saturated, 3 * saturated + 5 * vector, saturated + vector)
    for n in (0, 3, 8, *whole, *(n + 1 for n in whole), *(n + 8 for n in whole)):
        x = torch.randn(n, dtype=torch.float64).to(kind)
        y, expected = outputs(n, kind)
        expected[:n] = chain(x, steps, a, b)
        function(x, y, n, steps, a, b)
        agree(y, expected, rtol=16 * torch.finfo(kind).eps, atol=16 * torch.finfo(kind).eps)


def test_multiply_and_add_are_one_rounding(target):
    if target == "x86-64" or not ("fma" in CPU or "asimd" in CPU):
        pytest.skip("no FMA instructions")
    tiny = 2.0**-12  # (1 + tiny)^2 - (1 + 2 tiny) = tiny^2, which a product rounded to float32 has lost
    n = 1024
    x, y = torch.full((n,), 1 + tiny), torch.full((n,), torch.nan)
    for name, function in (("fma", "fma_float32"), ("ladder", "ladder_float32")):
        host(name, function)(x, y.fill_(torch.nan), n, 1, 1 + tiny, -(1 + 2 * tiny))
        assert y.unique().tolist() == [tiny**2]


@pytest.mark.parametrize("fmas", [0, 1, 3, 33])
@pytest.mark.parametrize("n", [*SIZES, *ODD])
def test_ladder_agrees_with_the_closed_form(target, n, fmas):
    x, a, b = torch.randn(n), -0.75, 0.5
    y, expected = outputs(n)
    expected[:n] = chain(x, fmas, a, b)
    host("ladder", "ladder_float32")(x, y, n, fmas, a, b)
    agree(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n", [*SIZES, *ODD])
def test_the_witness_agrees_with_its_twins(target, n):
    x, z, a, b = torch.randn(n), torch.randn(n), -0.75, 0.5
    for twin, inputs, numbers in (
        (twins.witness_copy, (x,), ()),
        (twins.witness_triad, (x, z), (1.7,)),
        (twins.witness_fma, (x,), (7, a, b)),
    ):
        y, expected = outputs(n)
        host("witness", twin.__name__)(*inputs, y, n, *numbers)
        twin(*inputs, expected, n, *numbers)
        agree(y, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n", [*SIZES, *ODD])
def test_the_witness_reads_every_element(target, n):
    x = torch.randint(-8, 9, (n,)).float()
    out, expected = (torch.tensor([5.0, torch.nan], dtype=torch.float64) for _ in range(2))
    host("witness", "witness_read")(x, out, n)
    twins.witness_read(x, expected, n)
    assert out[0].item() == expected[0].item() == 5 + x.long().sum().item()
    assert out[1].isnan()


@pytest.mark.parametrize("steps", [0, 1, 7, 101])
def test_the_witness_makes_every_step(target, steps):
    x, a, b = torch.randn(1000), -0.75, 0.5
    y, expected = outputs(1000)
    expected[:1000] = chain(x, steps, a, b)
    host("witness", "witness_fma")(x, y, 1000, steps, a, b)
    agree(y, expected, rtol=1e-5, atol=1e-5)


def cycle(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`count` lines, each of which holds the address of the next in a random cycle, and the addresses in that order."""
    lines = torch.full((count, LINE // 8), -1)
    order = torch.randperm(count)
    addresses = lines.data_ptr() + LINE * order
    lines[order, 0] = addresses.roll(-1)
    return lines, addresses


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_a_chase_goes_on_where_the_last_one_ended(target, count):
    lines, addresses = cycle(count)
    before = lines.clone()
    at, expected = torch.stack([addresses[0], torch.tensor(-1)]), addresses[:1].clone()
    done = 0
    for hops in (0, 1, 31, 32, 33, 3 * count, 777):
        host("chase", "chase")(lines, at, 1, hops)
        chase(lines, expected, 1, hops)
        done += hops
        assert at.tolist() == [expected.item(), -1]
        assert at[0] == addresses[done % count]
    assert torch.equal(lines, before)


def test_a_chase_makes_every_hop(target):
    """A chase twice as long takes about twice as long: no hop is skipped or made beside another."""
    lines, addresses = cycle(64)
    at, run = addresses[:1].clone(), host("chase", "chase")
    seconds = {}
    for hops in (1 << 20, 1 << 21):
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            run(lines, at, 1, hops)
            times.append(time.perf_counter() - begun)
        seconds[hops] = min(times)
    assert seconds[1 << 21] > 1.5 * seconds[1 << 20]
    # no CPU answers a dependent load in half a nanosecond
    assert seconds[1 << 21] > (1 << 21) * 0.5e-9


@pytest.mark.parametrize("rounds", [0, 1, 7, 1000])
def test_the_witness_makes_every_addition(target, rounds):
    pair, expected = torch.tensor([0, 1]), torch.tensor([0, 1])
    host("witness", "witness_adds")(pair, 1, rounds)
    twins.witness_adds(expected, 1, rounds)
    assert pair.tolist() == expected.tolist()


@pytest.mark.parametrize("name", ["stream", "fma", "ladder", "chase", "witness"])
def test_kernels_compile_without_a_warning(target, name, monkeypatch):
    monkeypatch.setattr(cc, "FLAGS", (*cc.FLAGS, "-Wall", "-Wextra", "-Werror"))
    assert cc.build(kernel_source(name, ".c")).is_file()
