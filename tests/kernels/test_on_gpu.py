"""Every CUDA body against torch on fresh random inputs, poisoned outputs and odd sizes, where there is a GPU.

What is run first on a new GPU. Bodies are launched as the probes launch them and compared over all elements, with a
guard behind each output; the probes' own checks, which look at the sizes that are measured, come after. Then what no
machine code shows: that two pipes really run side by side, and that stamps arrive.
"""

from functools import partial

import pytest
import torch

from bench.measure.budget import BUDGETS
from bench.measure.device import cuda, stack
from bench.measure.device.protocol import Kernel, Unsupported
from bench.measure.probes import describe, probes
from bench.measure.session import kernels
from bench.schema import Case
from bench.work import Work
from tests.kernels import twins
from tests.kernels.sass import RATES

GPU = bool(stack.visible())
pytestmark = pytest.mark.skipif(not GPU, reason="needs an NVIDIA GPU")
# Probes whose cases run a body of kernels/; each case's own check poisons its output and compares it with the twin.
OWN = ("bandwidth", "onchip", "latency", "peak", "intensity", "launch")
GUARD = 4096  # elements behind an output
# Elements: one vector of the widest, below, around and above whole tiles of every body, more than one wave of blocks.
ODD = (8, 1000, 4096 - 8, 4096, 4096 + 8, 3 * 8192 + 24, (1 << 22) + 1032)
INPUTS = {"read": 1, "write": 0, "copy": 1, "scale": 1, "add": 2, "triad": 2}
NUMBERS = {"write": (0.5,), "scale": (0.75,), "triad": (0.75,)}
# Settings of stream.cu, each beside the defaults; what a chip lacks is skipped.
SETTINGS = [{}, {"UNROLL": 1}, {"UNROLL": 2}, {"UNROLL": 8}, {"WIDTH": 32}, {"THREADS": 512}, {"WAVES": 4}]
SETTINGS += [{"HINT": ""}, {"HINT": ".cs"}, {"HINT": ".L1::no_allocate"}, {"STORE": ".cs"}]
A, B = -0.75, 0.5


@pytest.fixture(scope="module")
def device():
    found = cuda.CudaDevice(0, seed=7)
    yield found
    found.close()


def load(device, kernel):
    try:
        return device.load(kernel)
    except Unsupported as error:
        pytest.skip(str(error))


def poisoned(device, n, dtype):
    """An output with its guard, every element of it NaN, or an integer that no chain below ends at."""
    y = device.empty(n + GUARD, dtype=dtype)
    return y.fill_(float("nan") if y.is_floating_point() else 77)


def agree(device, y, expected, n, **tolerance):
    """All of y[:n], and a guard as it was."""
    device.synchronize()
    torch.testing.assert_close(y[:n].to(expected.dtype), expected, **tolerance)
    guard = y[n:]
    assert bool((guard.isnan() if guard.is_floating_point() else guard == 77).all()), "stored behind the end"


# --- memory -----------------------------------------------------------------------------------------------------------


def swept(mix, arrays, n, device):
    """What a mix leaves in y."""
    if mix == "write":
        return 0.5 + torch.arange(n, device=device) % 16
    x = arrays[0]
    return {
        "copy": lambda: x,
        "scale": lambda: 0.75 * x,
        "add": lambda: x + arrays[1],
        "triad": lambda: x + 0.75 * arrays[1],
    }[mix]()


def stream(mix, settings):
    settings = dict(settings)
    waves, threads = settings.pop("WAVES", 0), settings.pop("THREADS", 256)
    arrays = 2 if mix == "read" else INPUTS[mix] + 1
    per_thread = settings.get("UNROLL", 4) * settings.get("WIDTH", 16) // 4 * (4 if mix == "read" else 1)
    return Kernel("stream", mix, print, arrays, per_thread, threads, tuple(settings.items()), waves)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(f"{k}{v}" for k, v in s.items()) or "default")
@pytest.mark.parametrize("mix", INPUTS)
def test_a_stream_touches_all_of_its_arrays_and_no_more(device, mix, settings):
    if settings.get("WIDTH") == 32 and int(device.info.facts["capability"].partition(".")[0]) < 10:
        pytest.skip("no 32-byte loads on this chip")
    run = load(device, stream(mix, settings))
    for n in ODD:
        for passes in (1, 3):
            arrays = [device.random(n, dtype="float32") for _ in range(INPUTS[mix])]
            if mix == "read":
                out = poisoned(device, 1, "float64")
                out[0] = 5.0
                run(arrays[0].abs_(), out, n, passes)
                agree(device, out, 5 + passes * arrays[0].double().sum()[None], 1, rtol=1e-5, atol=0)
            else:
                y = poisoned(device, n, "float32")
                run(*arrays, y, n, passes, *NUMBERS.get(mix, ()))
                agree(device, y, swept(mix, arrays, n, y.device).float(), n, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("tiles", [1, 3, "all and one"])
@pytest.mark.parametrize("memory", ["shared", "l1"])
def test_a_tile_on_chip_is_read_in_every_pass(device, memory, tiles):
    run = load(device, Kernel("onchip", f"{memory}_read", print, 2, per_thread=8, threads=1024))
    n = 8192 * (2 * device.info.sms + 1 if tiles == "all and one" else tiles)
    for passes in (1, 7, 8, 11, 4096 + 8 + 3):
        x, out = device.random(n, dtype="float32").abs_(), poisoned(device, 1, "float64")
        out[0] = 0
        run(x, out, n, passes)
        agree(device, out, passes * x.double().sum()[None], 1, rtol=1e-5, atol=0)


@pytest.mark.parametrize("hint", ["", ".cg"])
@pytest.mark.parametrize("count", [1, 2, 1000, 1 << 16])
def test_a_chase_ends_where_its_cycle_says(device, count, hint):
    run = load(device, Kernel("chase", "chase", print, 2, 1, 32, (("LOAD", hint),) if hint else ()))
    lines = device.empty(count * 16, dtype="int64").fill_(-1)
    order = torch.randperm(count, device=lines.device)
    addresses = lines.data_ptr() + 128 * order
    lines.view(-1, 16)[order, 0] = addresses.roll(-1)
    at, done = torch.stack([addresses[0], addresses[0]]), 0
    for hops in (0, 1, 31, 32, 33, 777, 3 * 1000):
        run(lines, at, 1, hops)
        done += hops
        assert at.tolist() == [int(addresses[done % count]), int(addresses[0])]


# --- arithmetic -------------------------------------------------------------------------------------------------------


def check_chains(device, run, dtype, n, steps):
    """y[i] after `steps` FMAs in float64, or exactly in wrapping int32; chains of -0.75 forget their roundings."""
    x, y = device.random(n, dtype=dtype), poisoned(device, n, dtype)
    real = x.is_floating_point()
    a, b = (A, B) if real else (1664525, 1013904223)
    run(x, y, n, steps, float(a), float(b))
    expected = x.double() if real else x.clone()
    for _ in range(steps):
        expected = expected * a + b
    agree(device, y, expected, n, rtol=0, atol=4 * torch.finfo(x.dtype).eps if real else 0)


@pytest.mark.parametrize("pairs", [0, 1])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "float16", "bfloat16"])
def test_every_chain_makes_its_steps(device, dtype, pairs):
    if dtype not in device.info.loops or (pairs and "PAIRS" not in device.info.tuning.get(f"fma_{dtype}", {})):
        pytest.skip("not on this chip")
    per_thread = 16 if dtype.endswith("16") else 8
    run = load(device, Kernel("fma", f"fma_{dtype}", print, 2, per_thread, defines=(("PAIRS", 1),) if pairs else ()))
    for n in (*ODD, device.info.loops[dtype], device.info.loops[dtype] + 8):
        for steps in (0, 1, 15, 37, 64):
            check_chains(device, run, dtype, n, steps)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_every_rung_makes_its_steps(device, dtype):
    if dtype not in device.info.ladders:
        pytest.skip("not on this chip")
    size = {"float64": 8, "float32": 4, "float16": 2}[dtype]
    run = load(device, Kernel("ladder", f"ladder_{dtype}", print, 2, per_thread=64 // size))
    for n in ODD:
        for fmas in (0, 1, 7, 8, 37):
            check_chains(device, run, dtype, n, fmas)


# Relative error of a product of tiles (Frobenius): tf32's operands are cut to 10 bits, float8's sums keep about 14.
TILE_ERRORS = {"float64": 1e-12, "int8": 0.0, "tf32": 5e-3, "float8_e4m3": 3e-2}


@pytest.mark.parametrize("source", ["mma", "wgmma"])
@pytest.mark.parametrize("dtype", ["float64", "tf32", "bfloat16", "float16", "float8_e4m3", "int8"])
def test_every_tile_is_the_product_of_its_operands(device, dtype, source):
    found = [loop for loop in device.info.tensor_loops.get(dtype, ()) if loop.source == source]
    if not found:
        pytest.skip("not on this chip")
    (loop,) = found
    size = loop.m * loop.n
    run = load(device, Kernel(source, loop.function, print, 3, size // loop.threads, shared=loop.shared))
    # a grid that is not full, blocks whose last warps have no tile, one tile more than the device holds
    for tiles in (1, 3, loop.tiles, loop.tiles + 1):
        a, b = (device.random(tiles, rows, loop.k, dtype=dtype) for rows in (loop.m, loop.n))
        product = a.double() @ b.double().mT
        for steps in (1, 4, 7, 8):
            c = poisoned(device, tiles * size, loop.out)
            run(a, b, c, tiles * size, steps)
            device.synchronize()
            wrong = (c[: tiles * size].double().view_as(product) - steps * product).flatten(1).norm(dim=1)
            error = (wrong / (steps * product).flatten(1).norm(dim=1)).max().item()
            assert error <= TILE_ERRORS.get(dtype, 1e-3), f"{tiles} tiles, {steps} steps: off by {error:.2g}"
            guard = c[tiles * size :]
            assert bool((guard.isnan() if guard.is_floating_point() else guard == 77).all()), "stored behind the end"


# --- the witness ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waves", [0, 4])
@pytest.mark.parametrize("function", ["witness_copy", "witness_triad", "witness_read", "witness_fma"])
def test_the_witness_agrees_with_its_twins(device, function, waves):
    inputs = 2 if function == "witness_triad" else 1
    numbers = {"witness_triad": (1.7,), "witness_fma": (37, A, B)}.get(function, ())
    run = load(device, Kernel("witness", function, getattr(twins, function), inputs + 1, waves=waves))
    for n in (4, *ODD):
        arrays = [device.random(n, dtype="float32").abs_() for _ in range(inputs)]
        read = function == "witness_read"
        y, expected = (poisoned(device, 1 if read else n, "float64" if read else "float32") for _ in range(2))
        if read:
            y[0] = expected[0] = 5
        run(*arrays, y, n, *numbers)
        getattr(twins, function)(*arrays, expected, n, *numbers)
        agree(device, y, expected[:-GUARD], len(y) - GUARD, rtol=1e-5 if read else 1e-6, atol=0 if read else 1e-6)


# --- what a Run will launch -------------------------------------------------------------------------------------------

# Parameters that only say how large a case is.
SIZES = ("bytes", "elements", "fmas", "hops", "passes", "steps", "accumulators", "m", "n", "k", "shape", "tiles")


@pytest.mark.parametrize("name", OWN)
def test_the_probes_own_checks_pass(device, name):
    smallest = {}
    for case in describe(device.info, probes()[name], BUDGETS["quick"]):
        key = tuple((word, str(value)) for word, value in sorted(case.params.items()) if word not in SIZES)
        if not case.skip and (key not in smallest or case.work.bytes < smallest[key].work.bytes):
            smallest[key] = case
    assert smallest
    failed = []
    for key, case in smallest.items():
        try:
            setup = case.prepare(device)
            setup.launches[0]()
            device.synchronize()
            if setup.check:
                setup.check()
        except Unsupported:
            continue
        except Exception as error:
            failed.append((key, f"{type(error).__name__}: {error}"))
    assert not failed


def test_every_body_of_the_plan_loads(device):
    for kernel in kernels(device.info, [probes()[name] for name in OWN], BUDGETS["quick"]):
        device.load(kernel)


# --- the clock --------------------------------------------------------------------------------------------------------


def chains(device, dtype, name="fma"):
    """A launch of some milliseconds that does nothing but FMAs, and its flops."""
    n, steps = device.info.loops[dtype] * (1 if name == "fma" else 8), 1 << 15
    per_thread = (16 if dtype.endswith("16") else 8) if name == "fma" else 32
    run = load(device, Kernel(name, f"{name}_{dtype}", print, 2, per_thread))
    x, y = device.random(n, dtype=dtype), device.empty(n, dtype=dtype)
    return partial(run, x, y, n, steps, -1.0, B), 2.0 * n * steps


def samples(device, launch, count):
    case, launches = Case(params={}, work=Work(), prepare=print, cache="hot"), [launch]
    device.begin(case)
    return [device.time(case, launches, 1) for _ in range(count)]


def test_stamps_arrive_and_are_within_the_chips_range(device):
    launch, _ = chains(device, "float32")
    found = [sample.clock_hz for sample in samples(device, launch, 100)]
    share = sum(hertz is not None for hertz in found) / len(found)
    assert share > 0.95, f"{share:.0%} of the stamps arrived"
    highest = float(device.info.facts.get("sm_clock_max_hz", 3e9))
    assert all(3e8 < hertz < 1.03 * highest for hertz in found if hertz)


@pytest.mark.parametrize("blocks", [2, 4, 8])
def test_blocks_that_meet_on_sm_0_leave_whole_pairs(device, blocks):
    """Windows in a row agree: a time from one block beside cycles from another would be off by their distance."""
    stamp = partial(device._launch, device._function(Kernel("clock", "stamp", print, 0, threads=32)))
    counters, found, trials = torch.zeros(4, dtype=torch.int64, device="cuda:0"), [], 300
    for _ in range(trials):
        counters.zero_()
        stamp(blocks * device.info.sms, 32, 0, counters, 0)
        torch.cuda._sleep(1_000_000)
        stamp(blocks * device.info.sms, 32, 0, counters, 1)
        device.synchronize()
        begun, first, ended, last = counters.tolist()
        if begun and ended:
            assert ended - begun > 100_000
            found.append((last - first) / (ended - begun) * 1e9)
    assert len(found) > 0.95 * trials, f"{len(found)} of {trials} windows with {blocks} blocks per SM"
    middle = sorted(found)[len(found) // 2]
    assert sum(abs(hertz / middle - 1) < 0.02 for hertz in found) > 0.95 * len(found)


@pytest.mark.parametrize("name", ["fma", "ladder"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_16_bit_loop_fills_every_pipe_of_its_chip(device, dtype, name):
    """At least three quarters of the rated flops per clock and SM: where that takes two pipes, 1.5 times one pipe's.

    Others measured 200 of an A100's 256 float16 FMAs per clock, and 124 of a GH200's 134 TFLOP/s.
    """
    if dtype not in device.info.loops or (name == "ladder" and dtype not in device.info.ladders):
        pytest.skip("not on this chip")
    rated = RATES[device.info.facts["arch"]][dtype == "bfloat16"]
    launch, flops = chains(device, dtype, name)
    rates = [
        flops / sample.seconds / sample.clock_hz / device.info.sms
        for sample in samples(device, launch, 20)
        if sample.clock_hz
    ]
    assert rates, "no clock"
    reached = sorted(rates)[len(rates) // 2]
    assert 0.75 * rated < reached < 1.03 * rated, f"{reached:.0f} of {rated} flops per clock and SM"
