"""The numbers of 'the hidden bottleneck and MLPerf', recomputed."""

from bench.analysis.serving import queueing
from bench.analysis.serving.claims.reference import anchors
from bench.analysis.serving.claims.reference.anchors import H100, PLAIN
from bench.analysis.serving.claims.reference.insights import pools
from bench.analysis.serving.step import decoding, prefilling, timed


def numbers() -> dict[str, tuple[float, ...]]:
    middle, small = anchors.llama("70B"), anchors.llama("8B")
    idle = 1 / anchors.ridge(H100)
    prompt = timed(small, anchors.example(), PLAIN, prefilling(2048))
    step = timed(small, anchors.example(), PLAIN, decoding(8, 1024))
    return {
        "MB-01": (prompt.shares["compute"], step.shares["memory"]),
        "MB-02": (idle,),
        "MB-03": (anchors.streamed(middle),),
        "MB-04": (1 - idle,),
        "MB-05": (queueing.closed(32, 128, 0.02, 0.1, in_phase=False).tpot,),
        "MB-06": (pools(1000, 64), pools(100 / 3, 1 << 20)),
    }
