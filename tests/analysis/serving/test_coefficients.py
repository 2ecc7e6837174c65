"""Coefficients give back what operations() says of steps that they were not solved from, to the last byte."""

import random

import pytest

from bench.analysis.serving.export import StepKind, _solver, coefficients
from bench.analysis.serving.records import DEVICES, KV, WEIGHTS
from bench.analysis.serving.request import served
from bench.models import models
from bench.transformer import Ranks, operations


def summed(sparse, features, weight=0.0, cached=0.0):
    return sum(features[i] * (c[0] + (weight * c[1] + cached * c[2] if c[1:] else 0)) for i, *c in sparse)


@pytest.mark.parametrize("name", ["decode", "prefill"])
@pytest.mark.parametrize("model", models(), ids=lambda model: model.name)
def test_every_operator_of_every_model_counts_the_same(model, name):
    drawn, phase = random.Random(model.name), StepKind(name, model)
    for _ in range(6):
        ranks = Ranks(tensor=drawn.choice(DEVICES))
        shape = (drawn.randint(1, 5000), drawn.randint(1, 40000))[: 1 + (name == "decode")]
        weights, kv = drawn.choice(WEIGHTS), drawn.choice(KV)
        made = served(weights, kv)
        asked = operations(model, made, phase.step(shape), ranks, "balanced")
        found, features = coefficients(model, ranks, name), phase.features(shape)
        assert [each.name for each in found] == [each.name for each in asked]
        for ours, theirs in zip(found, asked, strict=True):
            message = theirs.params["bytes"] if theirs.kind == "collective" else theirs.work.bytes
            assert ours.count == theirs.count
            assert summed(ours.flops, features) == pytest.approx(theirs.work.flops, rel=1e-12)
            assert summed(ours.bytes, features, made.weights.bytes, made.kv.bytes) == pytest.approx(message, rel=1e-12)
            if theirs.kind == "gemm":
                assert summed(ours.at, features) == theirs.params["m"]


def test_steps_that_do_not_tell_the_features_apart_are_refused():
    with pytest.raises(ValueError, match="do not tell the features apart"):
        _solver([[1, 2], [2, 4]])


def test_what_is_no_whole_number_is_refused_and_ratios_are_kept():
    solve = _solver([[1, 1], [1, 3]])
    assert solve([4.0, 8.0]) == [2, 2]
    assert solve([1.0, 2.0]) == [0.5, 0.5]
    with pytest.raises(ValueError, match="whole flops and bytes"):
        solve([1.5, 2.0])
