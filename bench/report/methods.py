"""The formulas of bench.work and the rules of timing, in words for a reader of the report."""

from bench.work import MIXES


def _stream() -> str:
    parts = (
        f"{mix} {words}{f' and {flops} flop' + 's' * (flops > 1) if flops else ''}"
        for mix, (words, flops) in MIXES.items()
    )
    return f"Words moved per element: {', '.join(parts)}. Bytes = words × elements × size of an element × passes."


FORMULAS = (
    ("bandwidth", _stream()),
    ("FMA loop", "flops = 2 × accumulators × steps; bytes = one load and one store per accumulator."),
    (
        "tensor loop",
        (
            "flops = 2 m n k × tiles × steps: every tile multiplies the same operands from registers or shared memory,"
            " over and over. Only the instruction that is its chip's full-rate path claims a roof."
        ),
    ),
    (
        "on chip",
        "bytes = multiprocessors × tiles × 32 KiB × passes. Bytes per clock = rate / clock / multiprocessors.",
    ),
    (
        "latency",
        (
            "one thread follows addresses around a random cycle over lines of 128 bytes; latency = time / hops, cycles"
            " = latency × clock. A level's plateau is the median over working sets from four times the level below to"
            " half of the level."
        ),
    ),
    (
        "launch",
        (
            "an empty kernel. Synchronous: the host's clock from call to end of wait. Back to back: events around many"
            " launches, queued freely. Graph: events around a graph of as many nodes. Everywhere else the host is kept"
            " out of the time: launches are queued behind a held stream, then timed."
        ),
    ),
    (
        "host copies",
        (
            "bytes = payload, once per direction; the link's claim is its lane rate less the encoding. Pinned copies"
            " are queued behind a held stream; pageable ones, which the host makes in steps, are timed freely queued."
        ),
    ),
    ("ladder", "flops = 2 × elements × FMAs; bytes = 2 × elements × size, so intensity = FMAs / size of an element."),
    (
        "GEMM",
        (
            "C[m, n] = A[m, k] B[k, n]: flops = 2 m n k; bytes = A and B read once, C written once, and scale factors"
            " if any."
        ),
    ),
    (
        "attention",
        (
            "flops = 4 × head size per query-key pair, causal pairs only where masked (FlashAttention-2, arXiv"
            " 2307.08691); bytes = queries, keys and values read once, the output written once. The softmax's"
            " exponentials are not counted."
        ),
    ),
    (
        "all-reduce",
        (
            "bytes on each link = 2 (n−1)/n × size, as a ring moves them. Bus bandwidth is that over time for every"
            " algorithm (NCCL-tests), so that algorithms compare; only the ring claims the link's roof. α and β: time ="
            " α + size / β (Hockney), relative least squares over all sizes of an algorithm."
        ),
    ),
    (
        "regimes",
        (
            "burst: short samples on a GPU that is not yet hot, chosen in a first pass and stated by rounds; what"
            " computes rests three times as long as it worked between two samples. Sustained:"
            " the winner of each roof again under unbroken load until clock and power are level over two windows of two"
            " seconds, which then are the measurement; a clock that swings under a power cap is averaged over whole"
            " swings. A CPU has one regime, steady. Each regime is compared with its own roofs."
        ),
    ),
    (
        "time",
        (
            "the budget is the wall time of the whole command. Every roof's cases come first, then ever finer passes"
            " over all probes, which take turns by the time they have had, then rounds that repeat the roofs, then"
            " lasting load; a sweep that time cut short is evenly covered."
        ),
    ),
    (
        "clock",
        (
            "the clock seen is the mean of the samples, read on the GPU around each; the datasheet at it scales what"
            " the clock of the multiprocessors drives, so neither DRAM nor links."
        ),
    ),
    (
        "energy",
        (
            "the driver's energy counter after less before, over the launches between, divided by flops (compute roofs)"
            " or bytes (memory roofs); only under lasting load and over at least three seconds, because the counter"
            " steps by up to 100 ms. Idle power"
            " is inside. Energy per flop at an intensity I: e_flop + e_byte / I; balance: e_byte / e_flop."
        ),
    ),
)
