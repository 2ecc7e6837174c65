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
            " algorithm (NCCL-tests), so that algorithms compare; only the ring claims the link's roof."
        ),
    ),
)
