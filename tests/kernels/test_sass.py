"""The instructions that the GPU gets: as wide, as many and as free of surprises as the kernels' headers claim.

This says what runs and never how fast. What a header states in numbers is read from the header.
"""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from bench.measure.device.protocol import DeviceError, kernel_source
from tests.kernels.sass import (
    ONE_PIPE,
    RATES,
    SMS,
    THREADS_PER_SM,
    UNROLL,
    Body,
    arches,
    bodies,
    check_frame,
    claim,
    expect,
    needs_wheels,
    of,
)

pytestmark = needs_wheels

WIDE = [arch for arch in arches() if int(re.sub(r"\D", "", arch)) >= 100]
# for the variants
FEW = [arch for arch in arches() if arch in ("sm_80", "sm_90a", "sm_100a", "sm_120a")]
TUNED = [arch for arch in FEW if arch in ("sm_90a", "sm_100a")]
HAVE_PAIRS = [arch for arch in WIDE if arch in ("sm_100a", "sm_103a", "sm_120a")]
STREAM, FMA, LADDER, CHASE, ONCHIP, CLOCK, WITNESS, EMPTY = (
    kernel_source(name, ".cu") for name in ("stream", "fma", "ladder", "chase", "onchip", "clock", "witness", "empty")
)

# Defines of the variants.
UNROLLED = [(1, 512), (2, 256), (8, 256), (8, 512)]
WIDER = [(1, 256), (2, 512), (4, 256), (8, 256)]
HINTED = [(".cs", ".cs"), ("", ""), (".L1::no_allocate", "")]
LARGE, PAIRED, HOPS_IN_L2 = (("THREADS", 1024),), (("PAIRS", 1),), (("LOAD", ".cg"),)


def stream(width: int, unroll: int, threads: int, **hints: str) -> tuple:
    defines = (("WIDTH", width), ("UNROLL", unroll), ("THREADS", threads))
    return defines + tuple((name.upper(), operator) for name, operator in hints.items())


for _arch in arches():
    for _source in (STREAM, FMA, LADDER, CHASE, CLOCK, WITNESS, EMPTY):
        expect(_arch, _source, ())
    expect(_arch, ONCHIP, LARGE)
for _arch in FEW:
    expect(_arch, CHASE, HOPS_IN_L2)
    expect(_arch, STREAM, *(stream(16, *shape) for shape in UNROLLED))
    expect(_arch, STREAM, *(stream(32, *shape) for shape in WIDER if _arch in WIDE))
for _arch in TUNED:
    expect(_arch, STREAM, *(stream(32 if _arch in WIDE else 16, 2, 256, hint=h, store=s) for h, s in HINTED))
for _arch in HAVE_PAIRS:
    expect(_arch, FMA, PAIRED)

# Loads and stores of a tile in packs, of UNROLL.
SWEEPS = {
    "read": lambda unroll: (unroll, 0),
    "write": lambda unroll: (0, unroll),
    "copy": lambda unroll: (unroll, unroll),
    "scale": lambda unroll: (unroll, unroll),
    "add": lambda unroll: (2 * ((unroll + 1) // 2), (unroll + 1) // 2),
    "triad": lambda unroll: (2 * ((unroll + 1) // 2), (unroll + 1) // 2),
}
# Cache operator -> what its instructions are marked with; the default policy bears no mark.
MARKS = {".cg": "STRONG.GPU", ".cs": "EF", ".L1::no_allocate": "NA", "": ""}


def check_marks(accesses, operator: str) -> None:
    for access in accesses:
        words = f".{access.name}."
        for mark in filter(None, MARKS.values()):
            wanted = mark == MARKS[operator]
            assert (f".{mark}." in words) == wanted, f"{access.name} is {'not ' if wanted else ''}{mark}"


def check_sweep(body: Body, loads: int, stores: int, width: int = 16, hint: str = ".cg", store: str = "") -> None:
    """The busiest loop moves `width` bytes at a time, all loads in flight before one is used or anything stored."""
    for access in of(body.code, "LDG", "STG"):
        assert f".{8 * width}" in access.name, f"{access.name} is not {width} bytes wide"
    loop = max(body.loops(), key=lambda code: len(of(code, "LDG", "STG")))
    assert (len(of(loop, "LDG")), len(of(loop, "STG"))) == (loads, stores)
    order = [i.name[:3] for i in of(loop, "LDG", "STG", "FADD", "FMUL", "FFMA")]
    assert order[:loads] == ["LDG"] * loads, "a load waits for another's consumer"
    check_marks(of(loop, "LDG"), hint)
    check_marks(of(loop, "STG"), store)


def check_passes(body: Body, resident: int) -> None:
    """As many blocks work as the GPU holds at once, and every pass starts elsewhere."""
    constants = {
        word for i in body.code if not i.name.startswith("B") for word in re.findall(r"(?<= )0x[0-9a-f]+", i.text)
    }
    assert hex(SMS * resident) in constants, f"{resident} blocks per SM do not bound the grid"
    (shift,) = claim(STREAM, r"by (\d+) blocks")
    assert hex(shift) in constants, f"the passes do not move on by {shift} blocks"


def residents(width: int, unroll: int) -> int:
    """Threads that the header of stream.cu says an SM has room for."""
    table = re.findall(r"^ +(16|32) +([\d, ]+?) {3,}(\d+)$", STREAM.read_text().partition("*/")[0], re.MULTILINE)
    rooms = {(int(w), int(u)): int(threads) for w, unrolls, threads in table for u in unrolls.split(",")}
    return rooms[width, unroll]


def check_streams(arch: str, width: int = 16, unroll: int = UNROLL, threads: int = 256, **hints: str) -> None:
    found = bodies(STREAM, arch, stream(width, unroll, threads, **hints))
    assert set(found) == set(SWEEPS)
    room = min(residents(width, unroll), THREADS_PER_SM[arch])
    for mix, body in found.items():
        check_frame(body, arch, room)
        check_sweep(body, *SWEEPS[mix](unroll), width, **hints)
        check_passes(body, room // threads)


@pytest.mark.parametrize("arch", arches())
def test_streams_move_16_bytes_and_unroll(arch):
    found = bodies(STREAM, arch)
    assert set(found) == set(SWEEPS)
    for mix, body in found.items():
        check_frame(body, arch)
        check_sweep(body, *SWEEPS[mix](UNROLL))
        check_passes(body, THREADS_PER_SM[arch] // 256)


@pytest.mark.parametrize(("unroll", "threads"), UNROLLED)
@pytest.mark.parametrize("arch", FEW)
def test_defines_set_the_unrolling_and_the_block(arch, unroll, threads):
    check_streams(arch, unroll=unroll, threads=threads)


@pytest.mark.parametrize(("unroll", "threads"), WIDER)
@pytest.mark.parametrize("arch", [arch for arch in FEW if arch in WIDE])
def test_wide_streams_move_32_bytes(arch, unroll, threads):
    check_streams(arch, 32, unroll, threads)


@pytest.mark.parametrize("arch", [arch for arch in FEW if arch not in WIDE])
def test_wide_streams_are_refused_where_there_are_none(arch):
    with pytest.raises(DeviceError, match="WIDTH=32 needs 256-bit loads and stores"):
        bodies(STREAM, arch, (("WIDTH", 32),))


@pytest.mark.parametrize(("hint", "store"), HINTED)
@pytest.mark.parametrize("arch", TUNED)
def test_defines_set_the_cache_operators(arch, hint, store):
    check_streams(arch, 32 if arch in WIDE else 16, 2, hint=hint, store=store)


def second_pipe(arch: str, function: str) -> float:
    """Share of a function's HFMA2 that must be HFMA2.MMA: what of the chip's rate the pipe of HFMA2 cannot give."""
    float16, bfloat16 = RATES[arch]
    rate = {"bfloat16": bfloat16, "float16": float16}.get(function.partition("_")[2], ONE_PIPE)
    return 1 - ONE_PIPE / rate


def check_pipes(chain, share: float) -> None:
    """`share` of the instructions go to the second pipe; in a long loop of two pipes one follows the other."""
    second = [".MMA" in i.name for i in chain]
    assert sum(second) == share * len(chain), f"{sum(second)} of {len(chain)} use the second pipe, not {share:.0%}"
    if share and len(chain) >= 128:
        changes = sum(a != b for a, b in pairwise(second))
        assert changes >= 0.95 * (len(chain) - 1), f"the pipes alternate {changes} times in {len(chain)} instructions"


def check_chains(body: Body, kind: str, full: int, rest: int, share: float = 0) -> None:
    """Loops of `full` instructions beside a counter, and of `rest` for a remainder; none on the uniform datapath."""
    loops = {loop: [i for i in loop if re.fullmatch(kind, i.name) and "RZ, RZ" not in i.text] for loop in body.loops()}
    loops = {loop: chain for loop, chain in loops.items() if chain and not of(loop, "LDG", "STG")}
    assert {len(chain) for chain in loops.values()} == {full, rest}
    for loop, chain in loops.items():
        others = [i.name for i in loop if i not in chain and i.name != "NOP"]
        assert len(others) <= 10, others
        assert not of(loop, "LDS", "MUFU", "SHFL")
        check_pipes(chain, share)
    assert not [i for i in body.code if re.match(r"UIMAD$|U(F|D|H)", i.name)], "on the uniform datapath"


# Function -> its instruction; HFMA2.MMA is the same on the other pipe.
CHAINS = {
    "fma_float64": "DFMA",
    "fma_float32": "FFMA",
    "fma_int32": "IMAD",
    "fma_float16": r"HFMA2(\.MMA)?",
    "fma_bfloat16": r"HFMA2(\.MMA)?\.BF16_V2",
}


def check_fma(found: dict[str, Body], arch: str) -> None:
    chains, steps, full = claim(FMA, r"(\d+) independent chains .*? (\d+) steps per trip, so that (\d+) FMAs")
    assert full == chains * steps
    for name, body in found.items():
        check_frame(body, arch)
        check_chains(body, CHAINS[name], full, chains, second_pipe(arch, name))


@pytest.mark.parametrize("arch", arches())
def test_fma_loops_hold_their_chains_and_a_counter(arch):
    found = bodies(FMA, arch)
    assert set(found) == set(CHAINS) - ({"fma_bfloat16"} if RATES[arch][1] == 0 else set())
    check_fma(found, arch)


@pytest.mark.parametrize("arch", HAVE_PAIRS)
def test_pairs_are_one_instruction_where_the_chip_has_it(arch):
    body = bodies(FMA, arch, PAIRED)["fma_float32"]
    check_frame(body, arch)
    chains, steps = claim(FMA, r"as (\d+) chains, (\d+) steps per trip")
    paired = arch in ("sm_100a", "sm_103a")
    check_chains(body, "FFMA2" if paired else "FFMA", *(n * (1 if paired else 2) for n in (chains * steps, chains)))


@pytest.mark.parametrize("arch", [arch for arch in FEW if arch not in WIDE])
def test_pairs_are_refused_where_there_are_none(arch):
    with pytest.raises(DeviceError, match=r"PAIRS=1 needs fma\.rn\.f32x2"):
        bodies(FMA, arch, PAIRED)


LADDERS = {"ladder_float64": "DFMA", "ladder_float32": "FFMA", "ladder_float16": r"HFMA2(\.MMA)?"}


def check_ladder(body: Body, kind: str, trip: int, share: float = 0) -> None:
    """Four loads, then loops of 8 steps or 1 on whole tiles or on a vector, then four stores."""
    accesses = of(body.code, "LDG", "STG")
    assert all(".128" in access.name for access in accesses)
    chain = [i for i in body.code if re.fullmatch(kind, i.name) and "RZ, RZ" not in i.text]
    loops = [[i for i in loop if i in chain] for loop in body.loops()]
    assert {len(loop) for loop in loops} - {0} == {trip, trip // 8, trip // 4, trip // 32}
    for loop in loops:
        check_pipes(loop, share)
    runs = re.findall(r"L+|S+", "".join(i.name[0] for i in body.code if i in chain or i in accesses))
    assert {len(run) for run in runs} == {4, 1}


def check_ladders(found: dict[str, Body], arch: str) -> None:
    steps, singles, doubles = claim(LADDER, r"(\d+) steps per trip are (\d+) FFMA or HFMA2 or (\d+) DFMA")
    assert steps == 8
    for name, body in found.items():
        check_frame(body, arch)
        trip = doubles if name == "ladder_float64" else singles
        check_ladder(body, LADDERS[name], trip, second_pipe(arch, name))


@pytest.mark.parametrize("arch", arches())
def test_the_ladders_load_64_bytes_then_climb(arch):
    found = bodies(LADDER, arch)
    assert set(found) == set(LADDERS)
    check_ladders(found, arch)


def check_chase(body: Body, operator: str = "") -> None:
    """A trip is as many loads as claimed, each from the address that the one before brought, beside a counter alone."""
    assert body.stack == 0
    (hops,) = claim(CHASE, r"(\d+) dependent loads of 64 bits per trip")
    loops = sorted(body.loops(), key=len, reverse=True)
    assert len(loops) == 2, "not every hop is made"
    trip, single = loops
    assert (len(of(trip, "LDG")), len(of(single, "LDG"))) == (hops, 1)
    for loop in (trip, single):
        loads = of(loop, "LDG.E.64")
        ends = [(re.match(r" *(R\d+),", i.text)[1], re.search(r"\[(R\d+)[.\w]*\]\s*$", i.text)[1]) for i in loads]
        assert [came for _, came in ends] == [ends[-1][0], *(to for to, _ in ends[:-1])], "loads that do not wait"
        others = [i.name for i in loop if i not in loads]
        assert all(re.match(r"U?(IADD|VIADD|ISETP|MOV)|PLOP3|BRA", name) for name in others), others
        assert len(others) <= 6
        check_marks(loads, operator)


@pytest.mark.parametrize("arch", arches())
def test_the_chase_waits_for_every_load(arch):
    check_chase(bodies(CHASE, arch)["chase"])


@pytest.mark.parametrize("arch", FEW)
def test_a_define_sets_the_cache_operator_of_the_chase(arch):
    check_chase(bodies(CHASE, arch, HOPS_IN_L2)["chase"], ".cg")


ONCHIP_LOADS = {"shared_read": r"LDS(\.U)?\.128", "l1_read": r"LDG\.E\.128(\.SYS)?"}


def check_onchip(body: Body, load: str) -> None:
    """A trip is as many 16-byte loads as claimed, a warp's 512 bytes apart, some ahead of the first sum."""
    count, width = claim(ONCHIP, r"Shape: (\d+) loads of (\d+) bytes per trip")
    adds, ahead = claim(ONCHIP, r"(\d+) FADD per load.* least (\d+) loads per warp")
    loops = [loop for loop in body.loops() if of(loop, "FADD")]
    for loop, loads in zip(sorted(loops, key=len, reverse=True), (count, 2), strict=True):
        assert len(of(loop, "LDS", "LDG")) == loads, "not every load is made in every trip"
        for access in of(loop, "LDS", "LDG"):
            assert re.fullmatch(load, access.name), f"{access.name} is not {width} bytes wide or not from there"
        assert len(of(loop, "FADD")) == adds * loads
        assert len(loop) - (adds + 1) * loads <= 12
    trip = max(loops, key=len)
    order = "".join(i.name[0] for i in of(trip, "LDS", "LDG", "FADD"))
    assert order.startswith("L" * ahead)
    offsets = [int((re.search(r"\+(0x[0-9a-f]+)\]", i.text) or ("", "0"))[1], 16) for i in of(trip, "LDS", "LDG")]
    assert sorted(offsets) == [32 * width * u for u in range(count)], "a warp's loads are not side by side"


@pytest.mark.parametrize("arch", arches())
def test_onchip_trips_hold_16_loads(arch):
    found = bodies(ONCHIP, arch, LARGE)
    assert set(found) == set(ONCHIP_LOADS)
    for name, body in found.items():
        check_frame(body, arch, THREADS_PER_SM[arch] // 1024 * 1024)
        check_onchip(body, ONCHIP_LOADS[name])


@pytest.mark.parametrize("arch", arches())
def test_the_empty_kernel_only_ends(arch):
    code = bodies(EMPTY, arch)["empty"].code
    assert "EXIT" in [i.name for i in code]
    assert not of(code, "LDG", "STG", "LDS", "STS", "ATOM", "RED", "BAR", "CS2R")


def check_stamp(body: Body) -> None:
    """Off SM 0 it ends; on it both counters are read back to back and leave in one store of 16 bytes."""
    reads = [i for i, found in enumerate(body.code) if re.search("SR_CLOCK|GLOBALTIMER", found.text)]
    assert ["GLOBALTIMER" in body.code[i].text for i in reads] == [True, False]
    assert reads[1] == reads[0] + 1, "something stands between the two clocks"
    before = body.code[: [i.name for i in body.code[: reads[0]]].index("EXIT")]
    numbers = [re.search(r"U?R\d+", i.text)[0] for i in before if "SR_VIRTUALSMID" in i.text]
    tested = " ".join(i.text for i in before if re.match(r" *P\d, ", i.text))
    assert any(re.search(rf"\b{number}\b", tested) for number in numbers), "every SM stamps"
    first = re.search(r"R\d+", body.code[reads[0]].text)[0]
    stores = of(body.code, "ST", "RED", "ATOM")
    assert [i.name for i in stores] == ["STG.E.128.STRONG.GPU"], "a stamp that another block can tear"
    assert re.search(rf"\], {first}\b", stores[0].text)


@pytest.mark.parametrize("arch", arches())
def test_the_stamp_is_one_store_of_both_clocks_on_sm_0(arch):
    check_stamp(bodies(CLOCK, arch)["stamp"])


# 16-byte loads and stores of a float4 that a thread of the witness takes, and the arithmetic on its four lanes.
WITNESSES = {
    "witness_copy": (1, 1, {}),
    "witness_triad": (2, 1, {"FFMA": 4}),
    "witness_read": (1, 0, {"FADD": 4}),
}


def check_witness(found: dict[str, Body], arch: str) -> None:
    """Every load is 16 bytes wide and all of it is used; the FMA loop is FMAs and a counter."""
    assert set(found) == {*WITNESSES, "witness_fma"}
    for body in found.values():
        check_frame(body, arch, 1024)
        accesses = of(body.code, "LDG", "STG")
        assert accesses
        assert all(".128" in access.name for access in accesses), "not 16 bytes wide"
    for name, (loads, stores, sums) in WITNESSES.items():
        loops = [loop for loop in found[name].loops() if of(loop, "LDG")]
        assert loops
        for loop in loops:
            packs = len(of(loop, "LDG")) // loads
            assert len(of(loop, "LDG")) == packs * loads
            assert len(of(loop, "STG")) == packs * stores, "a store is missing"
            for kind in ("FFMA", "FADD", "FMUL"):
                assert len(of(loop, kind)) == packs * sums.get(kind, 0), f"{kind} on fewer lanes, or in two roundings"
    assert len(of(found["witness_read"].code, "RED", "ATOM")) == 1, "the sum does not leave"
    trip = max(found["witness_fma"].loops(), key=lambda loop: len(of(loop, "FFMA")))
    assert len(of(trip, "FFMA")) == 128
    assert len(trip) <= 128 + 4


@pytest.mark.parametrize("arch", arches())
def test_the_witness_is_plain_and_whole(arch):
    check_witness(bodies(WITNESS, arch), arch)


def check_read(found: dict[str, Body]) -> None:
    check_frame(found["read"], BROKEN, residents(16, 8))
    check_sweep(found["read"], *SWEEPS["read"](8))
    check_passes(found["read"], residents(16, 8) // 256)


def check_memories(found: dict[str, Body]) -> None:
    for name, load in ONCHIP_LOADS.items():
        check_onchip(found[name], load)


# Where what is broken on purpose is looked at; source -> its defines there and what notices.
BROKEN = "sm_90a"
CHECKS = {
    STREAM: ((("UNROLL", 8),), check_read),
    FMA: ((), lambda found: check_fma(found, BROKEN)),
    LADDER: ((), lambda found: check_ladders(found, BROKEN)),
    CHASE: ((), lambda found: check_chase(found["chase"])),
    ONCHIP: (LARGE, check_memories),
    CLOCK: ((), lambda found: check_stamp(found["stamp"])),
    WITNESS: ((), lambda found: check_witness(found, BROKEN)),
}
# Source, change, complaint.
MUTATIONS = {
    # the assembler narrows a load of which one word is used, volatile asm or not
    "a narrowed load": (STREAM, "k < LANES; ++k) sum.lane[k] +=", "k < 1; ++k) sum.lane[k] +=", "not 16 bytes wide"),
    "L1 under a stream": (STREAM, "#define HINT .cg", "#define HINT", "not STRONG.GPU"),
    "half the loads": (
        STREAM,
        "sweep<UNROLL>(n, passes, [&]",
        "sweep<UNROLL / 2>(n, passes, [&]",
        r"\(4, 0\) == \(8, 0\)",
    ),
    "too few registers": (STREAM, "LOADS * LANES * 5 / 4", "LOADS * LANES / 2", "spills|waits for another"),
    "its own tiles again": (STREAM, "first += shift;", "", "move on by 977"),
    "more blocks than fit": (STREAM, "SMS * RESIDENT", "SMS * BLOCKS", "4 blocks per SM do not bound"),
    "a result not stored": (FMA, "if (i + u * THREADS < vectors) y[i + u * THREADS] = packed[u];", ";", "set()"),
    "half of the IMADs": (FMA, "chains<8, 16>(x, y, n / 4, steps, (u", "chains<8, 8>(x, y, n / 4, steps, (u", "64"),
    # what fma.cu and ladder.cu once did: both halves known to be equal, and one of two pipes idle
    "halves known to be equal": (
        FMA,
        "bits = __shfl_sync(~0u, bits, 0);",
        "",
        r"0 of \d+ use the second pipe, not 50%",
    ),
    "one operand's halves known": (FMA, "opaque(__float2half2_rn((float)b))", "__float2half2_rn((float)b)", "second"),
    "bfloat16's halves known": (
        FMA,
        "opaque(__float2bfloat162_rn((float)a))",
        "__float2bfloat162_rn((float)a)",
        "second",
    ),
    "a ladder's halves known": (
        LADDER,
        "bits = __shfl_sync(~0u, bits, 0);",
        "",
        r"0 of \d+ use the second pipe, not 50%",
    ),
    "a shuffle in the loop": (
        FMA,
        "return __hfma2(r, a, b); }\n#if",
        "return __hfma2(__shfl_sync(~0u, r, 0), a, b); }\n#if",
        "SHFL",
    ),
    "a ladder of two loads": (LADDER, "VECTORS = 4", "VECTORS = 2", "32"),
    "half of the hops": (CHASE, "HOPS = 32", "HOPS = 16", r"\(16, 1\) == \(32, 1\)"),
    "hops made at once": (
        CHASE,
        '[%0];" : "+l"(line)::"memory"',
        '[%1];" : "=l"(line) : "l"(4096ull)',
        "not every hop",
    ),
    "work between hops": (CHASE, "[%0];", "[%0]; xor.b64 %0, %0, 64;", "do not wait"),
    "generic hops": (CHASE, '"ld.global"', '"ld"', r"\(0, 0\) == \(32, 1\)"),
    "a narrowed load on chip": (
        ONCHIP,
        ", sum.y += v[u].y, sum.z += v[u].z, sum.w += v[u].w;",
        ";",
        "not 16 bytes wide",
    ),
    "L1 left out of the loop": (ONCHIP, "first = (first + QUARTER) % SPAN;", "", "not every load"),
    "L1 bypassed": (ONCHIP, "ld.global.v4", "ld.global.cg.v4", "not from there"),
    # what clock.cu once did
    "two stores of a stamp": (
        CLOCK,
        "st.relaxed.gpu.global.b128 [%0], pair;",
        "st.global.b64 [%0], nanoseconds; st.global.b64 [%0+8], cycles;",
        "tear",
    ),
    "a vector of two stores": (
        CLOCK,
        "st.relaxed.gpu.global.b128 [%0], pair;",
        "st.global.v2.b64 [%0], {nanoseconds, cycles};",
        "tear",
    ),
    "a stamp of any SM": (CLOCK, "sm != 0 || ", "", "every SM stamps"),
    "a wait between the clocks": (
        CLOCK,
        '" mov.u64 cycles, %%clock64;',
        '" nanosleep.u32 100; mov.u64 cycles, %%clock64;',
        "between the two clocks",
    ),
    "a witness of one lane": (
        WITNESS,
        "sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w",
        "sum.x + v.x, sum.y, sum.z, sum.w",
        "not 16 bytes wide",
    ),
    "a witness's sum that stays": (WITNESS, "atomicAdd(out, sums[0]);", ";", "assert|leave"),
    "a witness that stores nothing": (WITNESS, "i += grid) y[i] = x[i];", "i += grid) x[i];", "assert"),
    "a trip with holes": (ONCHIP, "add<Memory, LOADS, 32, VECTORS>", "add<Memory, LOADS, 64, VECTORS>", "side by side"),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> dict[str, Path]:
    """The source of every mutation, to be read together."""
    found = {}
    for mutation, (source, old, new, _) in MUTATIONS.items():
        found[mutation] = tmp_path_factory.mktemp("broken") / source.name
        found[mutation].write_text(source.read_text().replace(old, new))
        expect(BROKEN, found[mutation], CHECKS[source][0])
    return found


@pytest.mark.skipif(BROKEN not in arches(), reason=f"no {BROKEN}")
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_broken_kernel_is_noticed(mutation, broken):
    source, old, _, complaint = MUTATIONS[mutation]
    defines, check = CHECKS[source]
    assert old in source.read_text()
    with pytest.raises(AssertionError, match=complaint):
        check(bodies(broken[mutation], BROKEN, defines))
