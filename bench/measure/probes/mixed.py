"""Chunked prefill: a decode step's layer with a prompt's chunk in the same step, and how far it stretches the step.

Products take the rows of both together, so the weights are read once; attention is one launch for the decoding
sequences and one for the chunk. Chunk 0 is the step alone; the ratio to it is what the decoding users feel. The chunk
is a prompt's first: a later one would also read the prefix before it.
"""

from bench.measure.probes import Cases, probe
from bench.measure.probes.layer import FAMILY, whole_case
from bench.measure.workloads import dtype_of
from bench.measure.workloads.layers import SHAPES, Span
from bench.schema import DeviceInfo

BATCHES = (8, 64)
CHUNKS = (0, 64, 256, 1024, 4096)
CONTEXT = 1024


@probe(version=2, asked=True, title="Chunked prefill")
def mixed(info: DeviceInfo, budget) -> Cases:
    """How much longer do users who decode wait for a token when a prompt's chunk shares their step?

    Work of a layer over the rows of both: the weights are read once, attention is added per sequence and chunk.
    Slowdown = time with the chunk / time of the step alone (chunk 0).
    """
    dtype, shape = dtype_of(info), SHAPES[0]
    if not dtype:
        return
    for batch in budget.thin(BATCHES):
        for chunk in budget.thin(CHUNKS):
            spans = [Span(batch, 1, CONTEXT), *([Span(1, chunk, chunk)] if chunk else [])]
            params = {"model": shape.model, "ranks": shape.ranks, "dtype": dtype, "batch": batch, "context": CONTEXT}
            params |= {"chunk": chunk, "tokens": batch + chunk}
            # the step alone is bound by memory and a chunk by arithmetic: neither predicts the other
            family = FAMILY if chunk else "a decode step's layer"
            yield whole_case(info, budget, params, shape, spans, dtype, family)
