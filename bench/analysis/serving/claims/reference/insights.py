"""The numbers of 'serving insights', recomputed."""

from bench.analysis.serving import formulas, queueing
from bench.analysis.serving.capacity import USABLE
from bench.analysis.serving.claims.reference import anchors
from bench.analysis.serving.claims.reference.anchors import A100, H100, H200, NAMED
from bench.analysis.serving.claims.reference.bottlenecks import memory_batches, sla_batches
from bench.analysis.serving.queueing import largest
from bench.models import model
from bench.work import all_reduce

_CHANNEL = 38.4e9  # B/s of one DDR5-4800 channel
# Joules of the worked example: 700 W at 700 TFLOP/s and 500 W at 2.8 TB/s, 100 W of them idle.
_FLOP, _BYTE = 600 / 700e12, 400 / 2.8e12
# Per 32 bits at 45 nm: DRAM, 8 KB of SRAM, an FP32 multiply ("Computing's energy problem", ISSCC 2014), in joules.
_DRAM, _SRAM, _MULTIPLY = 640e-12, 5e-12, 3.7e-12


def numbers() -> dict[str, tuple[float, ...]]:
    mixtral, small, deep = model("Mixtral-8x7B"), anchors.llama("8B"), model("DeepSeek-V3")
    memory = anchors.bandwidth(H100)
    drains = tuple(formulas.drain(NAMED[sku], anchors.bandwidth(sku)) for sku in (H100, H200, A100))
    one, every = mixtral.matmul_params_token * 2 / memory, mixtral.matmul_params_all * 2 / memory
    return {
        "PI-01": (*drains, formulas.drain(anchors.TPU_MEMORY, anchors.TPU_BANDWIDTH)),
        "PI-02": (USABLE * drains[0],),
        "PI-05": (memory_batches(), sla_batches()),
        # the text's GPU by its datasheet's two digits
        "PI-06": (memory / (12 * _CHANNEL), memory / (8 * _CHANNEL), memory / 64e9),
        "PI-07": (1 / formulas.speculated(0.8, 4),),
        "PI-08": (2 * _BYTE / (2 * _FLOP), _DRAM / _MULTIPLY, _SRAM / _MULTIPLY),
        "PI-09": (formulas.joules_per_token(700, 0.02, 1), formulas.joules_per_token(700, 0.02, 64)),
        "PI-10": (pools(100 / 3, 1 << 20), pools(1000, 64)),
        "PI-11": (
            one,
            every,
            small.head_weights / small.params_total,
            every / one,
            deep.matmul_params_all / deep.matmul_params_token,
        ),
        "PI-13": (all_reduce(16384, 8).bytes / anchors.link(H100), formulas.beyond_p99(160)),
    }


def pools(limit: float, most: int) -> float:
    """What separate pools gain where a step takes 15 + 0.1 B, a prompt 150 and a gap may take `limit`, all in ms.

    256 tokens are generated; no batch exceeds `most`.
    """
    prompt, gaps = 150.0, 255

    def step(batch: int) -> float:
        return 15 + 0.1 * batch

    def cost(batch: int) -> float:
        return prompt + gaps * step(batch) / batch

    together = largest(lambda b: queueing.closed(b, gaps + 1, step(b), prompt, in_phase=False).tpot <= limit, most)
    apart = largest(lambda b: step(b) <= limit, most)
    return cost(together) / cost(apart)
