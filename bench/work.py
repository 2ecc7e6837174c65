"""Demand: what an operation asks of a machine, and the byte and flop formulas of every primitive.

One fused multiply-add is two flops. Bytes are compulsory traffic: each input read once, each output written once;
what a cache or a write-allocate policy adds on top is the machine's doing and shows as a lower rate.
"""

from dataclasses import dataclass
from typing import Self

ITEMSIZE = {
    "float64": 8,
    "float32": 4,
    "tf32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3": 1,
    "int8": 1,
    "int32": 4,
    "float4": 0.5,
}

# STREAM's table (McCalpin 1995) with read and write added: words moved and flops per element. Read is a sum.
MIXES = {
    "read": (1, 1),
    "write": (1, 0),
    "copy": (2, 0),
    "scale": (2, 1),
    "add": (3, 1),
    "triad": (3, 2),
}


class RoofKey(str):
    """The name of a roof, which says what it is: `unit.dtype[.variant][.method]` of arithmetic, or a channel of bytes.

    It is its text, so that files, JSON and dictionaries have the string, and its parts are asked for by name.

        >>> key = RoofKey("tensor.float8_e4m3.fast_accum.library")
        >>> key.unit, key.dtype, key.variant, key.method, key.quantity
        ('tensor', 'float8_e4m3', 'fast_accum', 'library', 'tensor.float8_e4m3.fast_accum')
        >>> RoofKey("dram").channel, RoofKey.of("vector", "float32", method="loop")
        ('dram', 'vector.float32.loop')
    """

    METHODS = ("loop", "library", "datasheet")

    @classmethod
    def of(cls, unit: str, dtype: str, variant: str = "", method: str = "") -> Self:
        return cls(".".join(part for part in (unit, dtype, variant, method) if part))

    @property
    def is_compute(self) -> bool:
        return "." in self

    @property
    def channel(self) -> str:
        return "" if self.is_compute else str(self)

    @property
    def unit(self) -> str:
        return self.partition(".")[0] if self.is_compute else ""

    @property
    def dtype(self) -> str:
        return self.split(".")[1] if self.is_compute else ""

    @property
    def variant(self) -> str:
        """What distinguishes two ways to multiply the same dtype; several are joined by dots."""
        return ".".join(part for part in self.split(".")[2:] if part not in self.METHODS)

    @property
    def method(self) -> str:
        """One of METHODS; "" for a channel, and for a quantity that names none."""
        last = self.rpartition(".")[2]
        return last if self.is_compute and last in self.METHODS else ""

    @property
    def quantity(self) -> "RoofKey":
        """What is limited, whatever the method: "tensor.bfloat16", "dram"."""
        return RoofKey(self.removesuffix(f".{self.method}")) if self.method else self

    def amount(self, work: "Work") -> float:
        """What a Work asks of this roof: its flops or its bytes."""
        return work.flops if self.is_compute else work.bytes


@dataclass(frozen=True)
class Work:
    """Flops of one kind and bytes over one channel.

    unit is "vector" or "tensor" ("" without flops), dtype a key of ITEMSIZE, variant a distinction within it
    ("fast_accum"); channel names the path that the bytes take ("dram", "l2", "link", ...).
    """

    flops: float = 0.0
    unit: str = ""
    dtype: str = ""
    variant: str = ""
    bytes: float = 0.0
    channel: str = "dram"

    @property
    def intensity(self) -> float:
        """Arithmetic intensity in FLOP/B; infinite where no bytes move."""
        return self.flops / self.bytes if self.bytes else float("inf")

    @property
    def compute(self) -> RoofKey:
        """The compute roof's key without its method: "tensor.bfloat16" or "tensor.float8_e4m3.fast_accum"."""
        return RoofKey.of(self.unit, self.dtype, self.variant)

    @property
    def asks(self) -> tuple[RoofKey, ...]:
        """The roofs that it needs: of its flops, of its bytes."""
        return (self.compute,) * bool(self.flops) + (RoofKey(self.channel),) * bool(self.bytes)


def stream(mix: str, elements: int, dtype: str = "float32", channel: str = "dram", passes: int = 1) -> Work:
    """One of MIXES over arrays of `elements`, `passes` times."""
    words, flops = MIXES[mix]
    return Work(
        flops=float(flops * elements * passes),
        unit="vector" if flops else "",
        dtype=dtype if flops else "",
        bytes=float(words * elements * ITEMSIZE[dtype] * passes),
        channel=channel,
    )


def fma_loop(accumulators: int, steps: int, dtype: str) -> Work:
    """`steps` FMAs on each of `accumulators` values that stay in registers; one load and one store each."""
    return Work(2.0 * accumulators * steps, "vector", dtype, bytes=2.0 * accumulators * ITEMSIZE[dtype])


def tile_loop(m: int, n: int, k: int, tiles: int, steps: int, dtype: str, out: str) -> Work:
    """`tiles` tiles C[m, n] += A[m, k] B[k, n], `steps` times each; A and B are read and C is written once."""
    moved = tiles * ((m * k + k * n) * ITEMSIZE[dtype] + m * n * ITEMSIZE[out])
    return Work(2.0 * m * n * k * tiles * steps, "tensor", dtype, bytes=float(moved))


def ladder(elements: int, fmas: int, dtype: str = "float32") -> Work:
    """Read an element, do `fmas` FMAs on it, write it: intensity = fmas / itemsize FLOP/B."""
    return Work(2.0 * elements * fmas, "vector", dtype, bytes=2.0 * elements * ITEMSIZE[dtype])


def gemm(
    m: int, n: int, k: int, dtype: str, unit: str, *, batch: int = 1, out: str = "", variant: str = "", scales: int = 0
) -> Work:
    """C[m, n] = A[m, k] B[k, n], `batch` of them. `out`: C's dtype (A's if empty). `scales`: float32 scales read."""
    size = ITEMSIZE[dtype]
    moved = batch * ((m * k + k * n) * size + m * n * ITEMSIZE[out or dtype]) + 4 * scales
    return Work(2.0 * batch * m * n * k, unit, dtype, variant, float(moved))


def attention(
    batch: int,
    heads: int,
    kv_heads: int,
    queries: int,
    keys: int,
    head_dim: int,
    dtype: str,
    unit: str,
    *,
    causal: bool = False,
) -> Work:
    """softmax(Q K^T) V for `queries` new tokens against `keys` cached ones (FlashAttention-2, arXiv 2307.08691, 4.1).

    4 * head_dim flops per query-key pair; the causal mask (queries are the last of the keys) leaves out the pairs
    above the diagonal. The softmax's own exponentials are not counted, as everywhere in the field.
    """
    pairs = queries * keys
    if causal:
        pairs -= queries * (queries - 1) // 2
    moved = ITEMSIZE[dtype] * head_dim * batch * (2 * heads * queries + 2 * kv_heads * keys)
    return Work(4.0 * batch * heads * head_dim * pairs, unit, dtype, bytes=float(moved))


def all_reduce(size: float, ranks: int, channel: str = "link") -> Work:
    """Bytes that each rank sends to sum arrays of `size` bytes over `ranks`, as a ring does it: 2 (n-1)/n of the array.

    Source: NCCL-tests, doc/PERFORMANCE.md. Over that time it is the bus bandwidth, whatever algorithm ran.
    """
    return Work(bytes=size * 2 * (ranks - 1) / ranks, channel=channel)


def move(size: float, channel: str = "dram") -> Work:
    """`size` bytes read or written, with arithmetic too little to count: a gather, a norm, a gate, a sampling."""
    return Work(bytes=float(size), channel=channel)


def linear(
    m: float,
    n: int,
    k: int,
    dtype: str,
    unit: str,
    *,
    weight: float,
    activation: float,
    out: float,
    matrices: float = 1,
) -> Work:
    """`m` rows through weights of k x n whose elements have `weight` bytes, the rows' `activation`, the result's `out`.

    `matrices` such weights are read and each row meets one of them: routed experts, or one matrix per head.
    """
    moved = matrices * k * n * weight + m * k * activation + m * n * out
    return Work(2.0 * m * n * k, unit, dtype, bytes=float(moved))


def cached_attention(
    pairs: int,
    rows: int,
    heads: int,
    score_dim: int,
    value_dim: int,
    dtype: str,
    unit: str,
    *,
    cached: float,
    activation: float,
    variant: str = "",
) -> Work:
    """Attention of `rows` new tokens over a cache of which `cached` bytes are read, for `pairs` of query and key.

    2 (score_dim + value_dim) flops per head and pair: scores, then values. Both are head_dim in MHA, GQA and MQA; in
    latent attention they are what a head compares and what it collects (DeepSeek-V2, arXiv 2405.04434, 2.1).
    """
    width = heads * (score_dim + value_dim)
    return Work(2.0 * width * pairs, unit, dtype, variant, float(cached + rows * width * activation))


def all_gather(size: float, ranks: int, channel: str = "link") -> Work:
    """Bytes that each rank sends so that all hold an array of `size` bytes, of which each had one n-th: (n-1)/n."""
    return Work(bytes=size * (ranks - 1) / ranks, channel=channel)


def all_to_all(size: float, ranks: int, channel: str = "link") -> Work:
    """Bytes that leave a rank which spreads `size` bytes evenly over `ranks`, itself included: (n-1)/n of them."""
    return Work(bytes=size * (ranks - 1) / ranks, channel=channel)
