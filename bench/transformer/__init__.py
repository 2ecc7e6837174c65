"""A language model as rows of primitive operations: what one step of serving asks, before any machine is named.

    >>> llama = Model("Llama-3.1-8B", 32, 4096, 32, 8, 128, 14336, 128256)
    >>> llama.kv_bytes_per_token(FORMATS["bf16"])
    131072.0
    >>> rows = operations(llama, Precision(), Step(decode=((8, 1024),)))
    >>> [(row.name, row.count, row.work.bytes) for row in rows][2]
    ('QKV', 32, 50495488.0)

Counts only, exact, from bench.work's formulas. What would make them wrong: weights that are read twice in a step,
caches that save a read, padding to tiles, and parts too small to be rows (biases, per-head norms, quantising an
activation).
"""

from bench.transformer.model import (
    FORMAT_OF,
    FORMATS,
    Format,
    Model,
    Precision,
    UnknownFormat,
    format_named,
    read_keys,
    visible_keys,
    visible_pairs,
)
from bench.transformer.operations import Operation, operations
from bench.transformer.step import (
    Ranks,
    Step,
    distinct_experts,
    distinct_ranks,
    kv_on_rank,
    resident_weights,
    streamed_weights,
)

__all__ = [
    "FORMATS",
    "FORMAT_OF",
    "Format",
    "Model",
    "Operation",
    "Precision",
    "Ranks",
    "Step",
    "UnknownFormat",
    "distinct_experts",
    "distinct_ranks",
    "format_named",
    "kv_on_rank",
    "operations",
    "read_keys",
    "resident_weights",
    "streamed_weights",
    "visible_keys",
    "visible_pairs",
]
