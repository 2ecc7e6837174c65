"""Tensor loops: the native instruction, as often as the headers say, nothing beside it, operands where they belong.

The first half reads machine code. The second evaluates the kernels' own index expressions for every lane and hands the
operands to a model of the instruction, written from the PTX ISA. Neither says how fast anything runs.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from bench.measure.device.protocol import DeviceError, kernel_source
from tests.kernels.sass import REGISTERS, THREADS, Body, arches, bodies, expect, needs_wheels, of

PRODUCTS = ("HMMA", "IMMA", "QMMA", "DMMA", "HGMMA", "IGMMA", "QGMMA")
# A counter, its comparison, the branch; then what only fills an issue slot.
CONTROL = ("ISETP", "UISETP", "IADD3", "VIADD", "UIADD3", "MOV", "UMOV", "BRA")
MMA = kernel_source("mma", ".cu")
WGMMA = kernel_source("wgmma", ".cu")
HOPPER = [arch for arch in arches() if arch == "sm_90a"]
for _arch in arches():
    expect(_arch, MMA, ())
for _arch in HOPPER:
    expect(_arch, WGMMA, ())

WARPGROUP = {
    "wgmma_tf32": "HGMMA.64x256x8.F32.TF32",
    "wgmma_bfloat16": "HGMMA.64x256x16.F32.BF16",
    "wgmma_float16": "HGMMA.64x256x16.F32",
    "wgmma_float8_e4m3": "QGMMA.64x256x32.F32.E4M3.E4M3",
    "wgmma_int8": "IGMMA.64x256x32.S8.S8",
}


def warp(arch: str) -> dict[str, tuple[str, int]]:
    """Function -> its instruction and how many a step holds, on one architecture."""
    if arch == "sm_75":
        return {"mma_float16": ("HMMA.1688.F32", 16), "mma_int8": ("IMMA.8816.S8.S8", 32)}
    found = {
        "mma_tf32": ("HMMA.1688.F32.TF32", 16),
        "mma_bfloat16": ("HMMA.16816.F32.BF16", 16),
        "mma_float16": ("HMMA.16816.F32", 16),
        "mma_int8": ("IMMA.16832.S8.S8", 16),
    }
    if arch in ("sm_89", "sm_120a", "sm_121a"):
        found["mma_float8_e4m3"] = ("QMMA.16832.F32.E4M3.E4M3", 16)
    float64 = {"sm_80": ("DMMA.884", 16), "sm_90a": ("DMMA.16x8x16", 4), "sm_100a": ("DMMA.8x8x4", 16)}
    return found | ({"mma_float64": float64[arch]} if arch in float64 else {})


def check_residency(body: Body, blocks: int) -> None:
    """Nothing spills, and the registers let exactly so many blocks share an SM."""
    assert body.stack == 0
    assert not of(body.code, "LDL", "STL")
    granted = -(-body.registers // 8) * 8
    assert granted * THREADS * blocks <= REGISTERS < granted * THREADS * (blocks + 1)


def loops(body: Body) -> list[tuple]:
    return [loop for loop in body.loops() if of(loop, *PRODUCTS)]


def others(loop) -> list:
    """What a loop holds beside its products, without what does nothing."""
    idle = [i for i in loop if i.name == "NOP" or set(re.findall(r"\w+", i.text)) == {"URZ"}]
    return [i for i in loop if i not in idle and not i.name.startswith(PRODUCTS)]


def check_warp(body: Body, instruction: str, count: int) -> None:
    """One loop of `count` native instructions, each with sums of its own, and a counter."""
    (loop,) = loops(body)
    products = of(loop, *PRODUCTS)
    assert {i.name for i in products} == {instruction}
    assert of(body.code, *PRODUCTS) == products
    assert len(products) == count
    sums = {re.search(r"\bR\d+", i.text)[0] for i in products}
    assert len(sums) == count, f"{count} instructions share {len(sums)} sums"
    assert len(others(loop)) <= 4
    assert all(i.name.startswith(CONTROL) for i in others(loop)), [i.name for i in others(loop)]


def check_warpgroup(body: Body, instruction: str) -> None:
    """Four steps per commit group and a remainder of one, with a single fence and a single wait for each group."""
    found = loops(body)
    assert [len(of(loop, *PRODUCTS)) for loop in found] == [16, 4]
    assert {i.name for i in of(body.code, *PRODUCTS)} == {instruction}
    assert len(of(body.code, *PRODUCTS)) == 20
    for name in ("WARPGROUP.ARRIVE", "WARPGROUP.DEPBAR"):
        assert [len(of(loop, name)) for loop in found] == [1, 1], f"serialised by {name}"
        assert len(of(body.code, name)) == 2, f"serialised by {name}"
    for loop in found:
        rest = [i for i in others(loop) if not i.name.startswith("WARPGROUP")]
        assert len(rest) <= 6
        assert all(i.name.startswith(CONTROL) for i in rest), [i.name for i in rest]
    # the operands are visible to the async proxy, of all threads, before the first product
    steps = ("STS", "FENCE.VIEW.ASYNC", "BAR.SYNC", "WARPGROUP.ARRIVE", *PRODUCTS)
    order = [next(step for step in steps if i.name.startswith(step)) for i in of(body.code, *steps)]
    assert order[:6] == ["STS", *steps[:4], instruction[:5]]


def mutant(source, tmp_path, *changes: tuple[str, str]):
    text = source.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / source.name
    path.write_text(text)
    return path


@needs_wheels
@pytest.mark.parametrize("arch", arches())
def test_warp_loops_are_native_products_and_a_counter(arch):
    found = bodies(MMA, arch)
    assert set(found) == set(warp(arch))
    for function, (instruction, count) in warp(arch).items():
        check_residency(found[function], blocks=2)
        check_warp(found[function], instruction, count)


@needs_wheels
@pytest.mark.parametrize("arch", HOPPER)
def test_warpgroup_loops_are_native_products_and_are_not_serialised(arch):
    found = bodies(WGMMA, arch)
    assert set(found) == set(WARPGROUP)
    for function, instruction in WARPGROUP.items():
        check_residency(found[function], blocks=1)
        check_warpgroup(found[function], instruction)


@needs_wheels
@pytest.mark.parametrize("arch", [arch for arch in arches() if arch in ("sm_80", "sm_100a")])
def test_wgmma_is_empty_but_on_hopper(arch):
    assert bodies(WGMMA, arch) == {}


@needs_wheels
@pytest.mark.parametrize("arch", [arch for arch in arches() if arch in ("sm_90a", "sm_100a")])
def test_an_emulated_type_is_noticed(arch, tmp_path):
    everywhere = mutant(MMA, tmp_path, ("__CUDA_ARCH__ == 890 || __CUDA_ARCH__ >= 1200", "__CUDA_ARCH__ >= 890"))
    body = bodies(everywhere, arch)["mma_float8_e4m3"]
    with pytest.raises(AssertionError, match="HMMA"):
        check_warp(body, "QMMA.16832.F32.E4M3.E4M3", 16)


@needs_wheels
@pytest.mark.parametrize("arch", [arch for arch in arches() if arch in ("sm_80", "sm_90a")])
def test_half_the_sums_are_noticed(arch, tmp_path):
    # the same number of instructions, but every second one waits for the one before
    chained = mutant(MMA, tmp_path, ("multiply(sum[i][j],", "multiply(sum[i][j / 2],"))
    with pytest.raises(AssertionError, match="16 instructions share 8 sums"):
        check_warp(bodies(chained, arch)["mma_float16"], "HMMA.16816.F32", 16)


@needs_wheels
@pytest.mark.parametrize("arch", HOPPER)
def test_sums_touched_in_flight_fail_the_build(arch, tmp_path):
    early = mutant(WGMMA, tmp_path, ("wgmma.wait_group.sync.aligned 0;", "wgmma.wait_group.sync.aligned 1;"))
    with pytest.raises(DeviceError, match="C7514"):
        bodies(early, arch)


@needs_wheels
@pytest.mark.parametrize("arch", HOPPER)
def test_a_wait_behind_every_step_is_noticed(arch, tmp_path):
    shallow = mutant(WGMMA, tmp_path, ("COMMITTED = 4;", "COMMITTED = 1;"))
    with pytest.raises(AssertionError):
        check_warpgroup(bodies(shallow, arch)["wgmma_float16"], WARPGROUP["wgmma_float16"])


# --- operands and results, lane by lane ---------------------------------------------------------------------


@dataclass(frozen=True)
class Fragment:
    """The PTX ISA's "Matrix fragments for mma" of one shape: (row, column) of a lane's i-th element; lane = 4 g + t."""

    m: int
    k: int
    a: Callable[[int, int, int], tuple[int, int]]
    b: Callable[[int, int, int], tuple[int, int]]  # B is k x 8
    c: Callable[[int, int, int], tuple[int, int]] = lambda i, g, t: (g if i < 2 else g + 8, 2 * t + i % 2)


BITS16 = Fragment(
    16,
    16,
    a=lambda i, g, t: (g if i < 2 or 4 <= i < 6 else g + 8, 2 * t + i % 2 + (8 if i >= 4 else 0)),
    b=lambda i, g, t: (2 * t + i % 2 + (8 if i >= 2 else 0), g),
)
BITS8 = Fragment(
    16,
    32,
    a=lambda i, g, t: (g if i < 4 or 8 <= i < 12 else g + 8, 4 * t + i % 4 + (16 if i >= 8 else 0)),
    b=lambda i, g, t: (4 * t + i % 4 + (16 if i >= 4 else 0), g),
)
FRAGMENTS = {
    "m16n8k16.row.col.f32.f16": BITS16,
    "m16n8k16.row.col.f32.bf16": BITS16,
    "m16n8k32.row.col.f32.e4m3": BITS8,
    "m16n8k32.row.col.s32.s8": BITS8,
    "m16n8k8.row.col.f32.tf32": Fragment(
        16,
        8,
        a=lambda i, g, t: (g if i in (0, 2) else g + 8, t if i < 2 else t + 4),
        b=lambda i, g, t: (t + 4 * i, g),
    ),
    "m16n8k8.row.col.f32.f16": Fragment(
        16,
        8,
        a=lambda i, g, t: (g if i < 2 else g + 8, 2 * t + i % 2),
        b=lambda i, g, t: (2 * t + i, g),
    ),
    "m8n8k16.row.col.s32.s8": Fragment(
        8,
        16,
        a=lambda i, g, t: (g, 4 * t + i),
        b=lambda i, g, t: (4 * t + i, g),
        c=lambda i, g, t: (g, 2 * t + i),
    ),
    "m8n8k4.row.col.f64.f64": Fragment(
        8,
        4,
        a=lambda i, g, t: (g, t),
        b=lambda i, g, t: (t, g),
        c=lambda i, g, t: (g, 2 * t + i),
    ),
    "m16n8k16.row.col.f64.f64": Fragment(
        16,
        16,
        a=lambda i, g, t: (g, 2 * i + t) if i % 2 == 0 else (g + 8, 2 * i - 2 + t),
        b=lambda i, g, t: (t + 4 * i, g),
    ),
}


def expression(text: str, pattern: str) -> Callable[..., int]:
    """A C expression of the source, over integers that are not negative, as a function of its variables."""
    (found,) = re.findall(pattern, text)
    code = compile(found.replace("(long long)", "").replace("/", "//").replace("threadIdx.x", "lane"), found, "eval")
    return lambda **names: eval(code, {}, names)


def shape(text: str, instruction: str) -> tuple[int, int]:
    """ROWS and WORDS that the source gives an instruction."""
    before = text[: text.index(instruction + ".")]
    name = "NAME" if before.rpartition("\n")[2].startswith("MMA(") else r"\w+"
    rows, words = re.findall(rf"struct {name} : Shape<\w+, \w+, (\d+), (\d+)>", before)[-1]
    return int(rows), int(words)


def warp_product(text: str, instruction: str, m: int, n: int) -> bool:
    """Whether one step of mma.cu's tile, by its own indices and the ISA's fragments, is C = A B^T."""
    fragment = FRAGMENTS[instruction]
    ROWS, WORDS = shape(text, instruction)
    assert fragment.m == ROWS
    size = {"HALVES": ROWS // 8, "DEPTHS": WORDS // 4, "ROWS": ROWS, "WORDS": WORDS, "M": m, "N": n}
    g, t = (expression(text, rf"const int g = {p};") for p in ("(.+), t = .+", ".+, t = (.+)"))
    x, a = (expression(text, p) for p in (r"x\[i\]\[(.+)\] = a", r"x\[i\]\[.+\] = a\[(.+)\];"))
    y, b = (expression(text, p) for p in (r"y\[j\]\[(.+)\] = b", r"y\[j\]\[.+\] = b\[(.+)\];"))
    c = expression(text, r"c\[(.+)\] = sum\[i\]\[j\]\[e\];")
    random = np.random.default_rng(0)
    A, B = (random.integers(-9, 10, (rows, fragment.k)).astype(float) for rows in (m, n))
    left, right = np.full((m // ROWS, ROWS, fragment.k), np.nan), np.full((n // 8, fragment.k, 8), np.nan)
    wordsA, wordsB = A.reshape(m * WORDS, -1), B.reshape(n * WORDS, -1)
    packed = fragment.k // WORDS
    lanes = [{**size, "g": g(lane=lane), "t": t(lane=lane)} for lane in range(32)]
    for lane, names in enumerate(lanes):
        for depth in range(size["DEPTHS"]):
            for i in range(m // ROWS):
                for half in range(size["HALVES"]):
                    at = {**names, "i": i, "half": half, "depth": depth}
                    for e, value in enumerate(wordsA[a(**at)], packed * x(**at)):
                        left[i][fragment.a(e, lane >> 2, lane & 3)] = value
            for j in range(n // 8):
                at = {**names, "j": j, "depth": depth}
                for e, value in enumerate(wordsB[b(**at)], packed * y(**at)):
                    right[j][fragment.b(e, lane >> 2, lane & 3)] = value
    C = np.full(m * n, np.nan)
    for i in range(m // ROWS):
        for j in range(n // 8):
            product = left[i] @ right[j]
            for lane, names in enumerate(lanes):
                for e in range(2 * size["HALVES"]):
                    C[c(**names, i=i, j=j, e=e)] = product[fragment.c(e, lane >> 2, lane & 3)]
    return np.array_equal(C.reshape(m, n), A @ B.T)


@pytest.mark.parametrize("instruction", FRAGMENTS)
def test_fragments_are_the_isa_s(instruction):
    n = 16 if instruction == "m16n8k16.row.col.f64.f64" else 32
    assert warp_product(MMA.read_text(), instruction, 32, n)


MISPLACED = {
    "neighbouring words": ("b[(8 * j + g) * WORDS + 4 * depth + t]", "b[(8 * j + g) * WORDS + DEPTHS * t + depth]"),
    "neighbouring rows": ("a[(ROWS * i + 8 * half + g)", "a[(ROWS * i + 2 * g + half)"),
    "words before rows": ("x[i][HALVES * depth + half]", "x[i][DEPTHS * half + depth]"),
    "columns of a lane apart": ("8 * j + 2 * t + e % 2", "8 * j + t + e % 2 * 4"),
}


@pytest.mark.parametrize("mistake", MISPLACED)
def test_a_misplaced_operand_is_noticed(mistake):
    old, new = MISPLACED[mistake]
    text = MMA.read_text()
    assert old in text
    assert not warp_product(text.replace(old, new), "m16n8k16.row.col.f32.f16", 32, 32)


def constants(text: str) -> dict[str, int]:
    found = {"THREADS": THREADS}
    for line in re.findall(r"^constexpr int (.+);", text, re.MULTILINE):
        for name, value in (part.split(" = ") for part in line.split(", ")):
            found[name] = eval(value.replace("/", "//"), {}, found)
    return found


def operand(shared: np.ndarray, descriptor: int, rows: int) -> np.ndarray:
    """rows x 32 bytes as wgmma reads them: PTX's canonical K-major layout without swizzle, by the descriptor."""
    start, leading, stride = ((descriptor >> bit & 0x3FFF) << 4 for bit in (0, 16, 32))
    assert descriptor & ~(0x3FFF | 0x3FFF << 16 | 0x3FFF << 32) == 0, "a swizzle, a base offset or a stray bit"
    row, byte = np.ogrid[:rows, :32]
    return shared[start + row // 8 * stride + byte // 16 * leading + row % 8 * 16 + byte % 16]


def operands_right(text: str) -> bool:
    """Whether every instruction of a step finds its 32 bytes of k of every row, for both warpgroups."""
    names = constants(text)
    row, chunk = (expression(text, rf"const int row = {p};") for p in ("(.+), chunk = .+", ".+, chunk = (.+)"))
    place = expression(text, r"\(to \+ \((.+)\)\) = from")
    descriptor = expression(text, r"return (.+ >> 4);")
    advance = expression(text, r"multiply\(sum, a \+ (.+), b \+ ")
    assert advance(**names, i=3) == expression(text, r"multiply\(sum, a \+ .+, b \+ (.+)\);")(**names, i=3)
    random, base, right = np.random.default_rng(0), 1024, True
    for group in range(names["GROUPS"]):
        for start, rows in ((0, names["M"]), (names["A_BYTES"], names["N"])):
            address = base + group * names["TILE_BYTES"] + start
            matrix = random.integers(0, 256, (rows, names["ROW_BYTES"]))
            shared = np.full(228 * 1024, -1)
            for i in range(rows * names["ROW_BYTES"] // 16):
                to = address + place(**names, row=row(i=i), chunk=chunk(i=i))
                shared[to : to + 16] = matrix.reshape(-1, 16)[i]
            for depth in range(names["DEPTHS"]):
                found = operand(shared, descriptor(**names, address=address) + advance(**names, i=depth), rows)
                right = right and np.array_equal(found, matrix[:, 32 * depth : 32 * depth + 32])
            # nothing lies where the next operand begins
            used = np.flatnonzero(shared >= 0)
            right = right and used[0] == address and used[-1] == address + rows * names["ROW_BYTES"] - 1
    return right


def test_descriptors_lead_to_the_operands():
    text = WGMMA.read_text()
    assert operands_right(text)
    assert constants(text)["GROUPS"] * constants(text)["TILE_BYTES"] == 81920


MISLED = {
    "offsets exchanged": ("(STRIDE >> 4) << 32 | (long long)(LEADING >> 4)", "(LEADING >> 4) << 32 | (STRIDE >> 4)"),
    "rows side by side": ("LEADING = 128, STRIDE = 1024", "LEADING = 16, STRIDE = 1024"),
    "a step too long": ("DEPTH_BYTES = 256", "DEPTH_BYTES = 512"),
}


@pytest.mark.parametrize("mistake", MISLED)
def test_a_wrong_descriptor_is_noticed(mistake):
    old, new = MISLED[mistake]
    text = WGMMA.read_text()
    assert old in text
    assert not operands_right(text.replace(old, new))


def test_sums_of_a_warpgroup_go_where_they_belong():
    """CUTLASS's CLayout_64x256: lanes (4, 8), warps (4) and registers (2, 2, 32) step through m + 64 n."""
    text = WGMMA.read_text()
    c = expression(text, r"c\[(.+)\] = sum\[i\];")
    names = constants(text)
    for thread in range(128):
        w, g, t = thread // 32, thread % 32 // 4, thread % 4
        for i in range(names["SUMS"]):
            column, row = divmod(128 * t + g + 16 * w + 64 * (i % 2) + 8 * (i // 2 % 2) + 512 * (i // 4), 64)
            assert c(**names, w=w, g=g, t=t, i=i) == row * names["N"] + column
