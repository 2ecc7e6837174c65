"""One transformer layer as serving runs it, in torch: its parts, their sum as a whole, and plain references for both.

The parts are those that engines launch: norm with the residual add, QKV, rotary with the KV append, attention, O,
gate-up, gated activation, down. The last residual add belongs to the next layer's first norm, so a layer takes and
gives two tensors: the residual stream and what is still to be added to it.

torch is imported inside the functions, so that describing cases costs no import.
"""

from bench.measure.workloads.layers.backends import ran
from bench.measure.workloads.layers.parts import Cache, Weights, attend, gated, layer, linear, norm, rotary_append
from bench.measure.workloads.layers.plain import check, check_piece, compare, plain_attention
from bench.measure.workloads.layers.ready import matrix, part_setup, scaled, setup, table_of
from bench.measure.workloads.layers.shape import FAMILY, SHAPES, Shape, Span, dtype_of, parts, refusal, whole

__all__ = [
    "FAMILY",
    "SHAPES",
    "Cache",
    "Shape",
    "Span",
    "Weights",
    "attend",
    "check",
    "check_piece",
    "compare",
    "dtype_of",
    "gated",
    "layer",
    "linear",
    "matrix",
    "norm",
    "part_setup",
    "parts",
    "plain_attention",
    "ran",
    "refusal",
    "rotary_append",
    "scaled",
    "setup",
    "table_of",
    "whole",
]
