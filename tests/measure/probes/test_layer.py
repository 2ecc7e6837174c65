"""The transformer layer against a float64 one written out token by token, its parts against it, its declared work."""

import math
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch

from bench import models
from bench.measure.budget import BUDGETS
from bench.measure.device import cpu
from bench.measure.device.protocol import CheckFailed
from bench.measure.device.sim import open_simulated
from bench.measure.probes import describe, probes
from bench.measure.session import session
from bench.measure.timing import measure
from bench.measure.workloads import attention, layers
from bench.measure.workloads.layers import Shape, Span
from bench.schema import Cache

TOY = Shape("toy", 1, 48, 6, 2, 8, 80)
STEPS = {
    "decode": [Span(3, 1, 11)],
    "first token": [Span(2, 1, 1)],
    "prefill": [Span(1, 9, 9)],
    "two prompts": [Span(2, 5, 5)],
    "mixed": [Span(3, 1, 11), Span(1, 6, 6)],
}


@pytest.fixture(scope="module")
def device():
    """The CPU, as if its caches were small: a toy layer would be made a thousand times to be cold in real ones."""
    opened = cpu.open_cpu(seed=3)
    opened.info = replace(opened.info, caches=(Cache("l3", 2**20),))
    return opened


@pytest.fixture(scope="module")
def h200():
    return open_simulated("sim:h200-sxm")[0]


def ready(device, spans, dtype="float32", shape=TOY):
    return layers.setup(shape, spans, dtype, device).launches[0]


def written_out(launch, spans, shape=TOY):
    """The layer in float64, a token and a head at a time; positions from the spans, past keys from the caches."""
    hidden, delta, weights, _, caches, _ = launch.args
    w = layers.Weights(*(x.double() for x in weights))
    e, group = shape.head_dim, shape.heads // shape.kv_heads
    streams, deltas, row = [], [], 0

    def normed(x, gain):
        return x * gain / math.sqrt(sum(v * v for v in x.tolist()) / len(x) + 1e-5)

    def turned(x, position):
        out = x.clone()
        for pair in range(e // 2):
            angle = position * 500000.0 ** (-2 * pair / e)
            a, b = float(x[2 * pair]), float(x[2 * pair + 1])
            out[2 * pair] = a * math.cos(angle) - b * math.sin(angle)
            out[2 * pair + 1] = a * math.sin(angle) + b * math.cos(angle)
        return out

    for span, cache in zip(spans, caches, strict=True):
        for sequence in range(span.batch):
            keys, values = cache.keys[sequence].double().clone(), cache.values[sequence].double().clone()
            for position in range(span.context - span.new, span.context):
                x = hidden[row].double() + delta[row].double()
                qkv = w.qkv @ normed(x, w.first)
                heads = [qkv[i * e : (i + 1) * e] for i in range(shape.heads + 2 * shape.kv_heads)]
                for g in range(shape.kv_heads):
                    keys[g, position] = turned(heads[shape.heads + g], position)
                    values[g, position] = heads[shape.heads + shape.kv_heads + g]
                mixed = []
                for h in range(shape.heads):
                    query, g = turned(heads[h], position), h // group
                    scores = [float(query @ keys[g, t]) / math.sqrt(e) for t in range(position + 1)]
                    chances = [math.exp(score - max(scores)) for score in scores]
                    mixed.append(sum(c / sum(chances) * values[g, t] for t, c in enumerate(chances)))
                x = x + w.out @ torch.cat(mixed)
                gate, up = (w.gate_up @ normed(x, w.second)).chunk(2)
                streams.append(x)
                deltas.append(w.down @ torch.stack([g / (1 + math.exp(-g)) * u for g, u in zip(gate, up, strict=True)]))
                row += 1
    return torch.stack(streams), torch.stack(deltas)


@pytest.mark.parametrize("step", STEPS)
def test_the_layer_is_the_one_written_out(device, step):
    launch = ready(device, STEPS[step])
    expected = written_out(launch, STEPS[step])
    for found, wanted in zip(launch(), expected, strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_its_own_check_accepts_it(device, step, dtype):
    layers.setup(TOY, STEPS[step], dtype, device).check()


@pytest.mark.parametrize("step", STEPS)
def test_the_parts_make_the_whole(device, step):
    spans = STEPS[step]
    launch = ready(device, spans)
    hidden, delta, w, table, caches, new = launch.args
    whole = launch()
    stream, x = layers.norm(hidden, delta, w.first)
    slots = [cache.newest(tokens) for cache, tokens in zip(caches, new, strict=True)]
    queries = layers.rotary_append(layers.linear(x, w.qkv), table, slots)
    mixed, begin = [], 0
    for span, cache in zip(spans, caches, strict=True):
        mine = queries[begin : begin + span.tokens].reshape(span.batch, span.new, TOY.heads, TOY.head_dim)
        mixed.append(attention.attend(mine.transpose(1, 2), *cache))
        begin += span.tokens
    stream, x = layers.norm(stream, layers.linear(torch.cat(mixed), w.out), w.second)
    assert torch.equal(whole[0], stream)
    assert torch.equal(whole[1], layers.linear(layers.gated(layers.linear(x, w.gate_up)), w.down))


def test_the_append_writes_the_last_rows_only_and_does_not_grow(device):
    launch = ready(device, [Span(3, 1, 11)])
    (cache,) = launch.args[4]
    before = [rows.clone() for rows in cache]
    first = launch()
    after = [rows.clone() for rows in cache]
    again = launch()
    for old, new, now in zip(before, after, cache, strict=True):
        assert torch.equal(old[:, :, :-1], new[:, :, :-1])
        assert not torch.equal(old[:, :, -1], new[:, :, -1])
        assert now.shape == old.shape
        assert torch.equal(new, now)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_wrong_layer_is_caught(device):
    launch = ready(device, [Span(3, 1, 11)])
    caches = launch.args[4]

    def forgetful(*arguments):
        slots = [cache.newest(1) for cache in caches]
        held = [[rows.clone().nan_to_num(0.5) for rows in slot] for slot in slots]
        found = launch.func(*arguments)
        for slot, rows in zip(slots, held, strict=True):
            for place, row in zip(slot, rows, strict=True):
                place.copy_(row)
        return found

    def unturned(hidden, delta, weights, table, *more):
        return launch.func(hidden, delta, weights, torch.ones_like(table), *more)

    def unnormed(hidden, delta, weights, *more):
        return launch.func(hidden, delta, weights._replace(second=torch.ones_like(weights.second)), *more)

    def restless(*arguments):
        stream, delta = launch.func(*arguments)
        return stream - arguments[1], delta

    layers.check(launch)
    for wrong in (forgetful, unturned, unnormed, restless):
        with pytest.raises(CheckFailed):
            layers.check(partial(wrong, *launch.args))


@pytest.mark.parametrize("name", list(layers.parts(TOY, [Span(2, 1, 7)], "float32", "vector")))
@pytest.mark.parametrize("span", [Span(2, 1, 7), Span(1, 6, 6)], ids=["decode", "prefill"])
def test_each_part_is_checked(device, name, span):
    name = name.replace("decode", span.phase)
    size = layers.parts(TOY, [span], "float32", "vector")[name][1].bytes
    setup = layers.part_setup(TOY, span, name, max(size, device.info.last_level), "float32", device)
    setup.check()
    launch = setup.launches[-1]

    class Off:
        """The part with its result half as large."""

        def __init__(self, part):
            self.func, self.args = part.func, part.args

        def __call__(self):
            found = launch()
            return tuple(x / 2 for x in found) if isinstance(found, tuple) else found / 2

    with pytest.raises(CheckFailed):
        layers.check_part(Off(launch))


def test_parts_have_the_worked_steps_work():
    """Two worked steps by hand (decode, 8 x 1024) and B (prefill of 2048): FLOP and bytes of one launch."""
    golden = {
        Span(8, 1, 1024): {
            "norm + residual": (2, 0, 270336),
            "QKV": (1, 402653184, 50495488),
            "rotary + KV append": (1, 0, 196608),
            "decode attention": (1, 134217728, 33685504),
            "O": (1, 268435456, 33685504),
            "gate-up": (1, 1879048192, 235405312),
            "gated activation": (1, 0, 688128),
            "down": (1, 939524096, 117735424),
        },
        Span(1, 2048, 2048): {
            "norm + residual": (2, 0, 67117056),
            "QKV": (1, 103079215104, 92274688),
            "rotary + KV append": (1, 0, 50331648),
            "prefill attention": (1, 34376515584, 41943040),
            "O": (1, 68719476736, 67108864),
            "gate-up": (1, 481036337152, 369098752),
            "gated activation": (1, 0, 176160768),
            "down": (1, 240518168576, 192937984),
        },
    }
    for span, rows in golden.items():
        found = layers.parts(layers.SHAPES[0], [span], "bfloat16", "tensor")
        assert list(found) == list(rows)
        for name, (count, flops, size) in rows.items():
            table = span.tokens * 128 // 2 * 8 if name.startswith("rotary") else 0  # a complex64 for each pair
            assert (found[name][0], found[name][1].flops, found[name][1].bytes) == (count, flops, size + table), name


def test_a_whole_has_its_parts_flops_and_no_more_bytes():
    for shape in layers.SHAPES:
        for spans in STEPS.values():
            whole = layers.whole(shape, spans, "bfloat16", "tensor")
            parts = layers.parts(shape, spans, "bfloat16", "tensor").values()
            assert whole.flops == sum(count * part.flops for count, part in parts)
            assert whole.bytes < sum(count * part.bytes for count, part in parts)


def test_a_rank_of_two_holds_half_of_the_model():
    """Llama-3.1-70B: 8192 wide, 64 heads, 8 KV heads of 128, 28672 inner, without norms."""
    rank = layers.SHAPES[1]
    assert rank.ranks * rank.matrices == 8192 * 128 * (2 * 64 + 2 * 8) + 3 * 8192 * 28672


def test_every_whole_finds_its_parts(h200):
    cases = [case for case in describe(h200.info, probes()["layer"], BUDGETS["standard"]) if not case.skip]
    keys = [tuple(case.params.items()) for case in cases]
    assert len(set(keys)) == len(keys)
    wholes = [case for case in cases if case.params["part"] == "layer"]
    assert {(c.params["batch"], c.params["context"]) for c in wholes if c.params["model"] == "Llama-3.1-8B"} >= {
        (batch, context) for batch in (1, 8, 64) for context in (1024, 8192, 32768)
    }
    for whole in wholes:
        shared = ("model", "ranks", "dtype", "phase", "tokens")
        mine = [
            case
            for case in cases
            if case.params["part"] != "layer"
            and all(case.params[name] == whole.params[name] for name in shared)
            and case.params["batch"] in (0, whole.params["batch"])
            and case.params["context"] in (0, whole.params["context"])
        ]
        assert sum(case.params["count"] for case in mine) == 9
        assert sum(case.params["count"] * case.work.flops for case in mine) == whole.work.flops


def test_a_small_budget_skips_with_a_reason(h200):
    cases = describe(h200.info, probes()["layer"], replace(BUDGETS["quick"], memory=1 / 1024))
    skips = {(c.params["model"], c.params["batch"], c.params["context"]): c.skip for c in cases}
    assert "this budget allows a case 0.1 GiB" in skips["Llama-3.1-8B", 256, 32768]
    assert "this budget allows" in skips["Llama-3.1-70B", 1, 1024]  # its weights count
    assert not skips["Llama-3.1-8B", 1, 1024]
    tiny = describe(replace(h200.info, memory_bytes=1 << 30), probes()["layer"], BUDGETS["soak"])
    assert {c.skip for c in tiny if c.params["batch"] == 1 and c.params["context"] == 1024} == {
        "needs 0.4 GiB, over a quarter of the memory",
        "needs 0.8 GiB; this budget allows a case 0.5 GiB",
    }


def test_a_whole_whose_parts_are_slow_is_not_waited_for(h200):
    """Parts of 10 s a launch on this budget: the generator is told so and gives the reason."""
    cases = probes()["layer"].cases(h200.info, BUDGETS["quick"])
    case, wholes = next(cases), []
    try:
        while True:
            if case.params["part"] == "layer":
                wholes.append(case)
            case = cases.send(10.0)
    except StopIteration:
        pass
    assert wholes
    for whole in wholes:
        assert whole.skip.startswith(("its parts alone take 20.0 s or more", "its parts alone would take", "needs"))


@pytest.mark.parametrize("name", ["layer", "decode", "mixed"])
def test_describing_loads_no_torch(name):
    code = f"""
import sys
from bench.measure.budget import BUDGETS
from bench.measure.probes import describe, probes
from bench.schema import Cache, DeviceInfo
info = DeviceInfo(id="x", name="x", product="x", memory_bytes=10**11, caches=(Cache("l2", 1 << 20),),
                  units={{"bfloat16": "tensor"}}, loops={{}})
assert describe(info, probes()["{name}"], BUDGETS["soak"])
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["layer", "decode", "mixed"])
def test_a_device_without_a_model_dtype_has_no_cases(h200, name):
    assert describe(replace(h200.info, units={"float64": "vector"}), probes()[name], BUDGETS["quick"]) == []


@pytest.mark.parametrize("name", ["layer", "decode", "mixed"])
def test_the_simulated_device_runs_every_case(h200, name):
    found = list(session(h200, [probes()[name]], replace(BUDGETS["quick"], seconds=1e9)))
    assert [m for m in found if m.seconds]
    for m in found:
        assert m.seconds or m.skip, (m.params, m.reasons)
        if m.seconds:
            assert m.median == pytest.approx(h200._roofline.seconds(m.work), rel=1e-9)


def test_a_layer_measured_here_names_its_attention(device):
    spans = [Span(2, 1, 16)]
    case = next(iter(describe(device.info, probes()["layer"], BUDGETS["quick"])))
    toy = replace(
        case,
        work=layers.whole(TOY, spans, "float32", "vector"),
        prepare=partial(layers.setup, TOY, spans, "float32"),
    )
    found = measure(device, "layer", 1, toy, replace(BUDGETS["quick"], case=0.01))
    assert found.usable
    assert found.notes["decode attention"] in ("flash", "math")


def test_the_rotary_table_is_of_the_right_positions():
    table = layers.table_of([Span(2, 1, 11), Span(1, 3, 3)], 8, torch.empty(0))
    assert table.shape == (5, 1, 4)
    angles = torch.tensor([10.0, 10.0, 0.0, 1.0, 2.0])
    torch.testing.assert_close(table[:, 0, 0], torch.polar(torch.ones(5), angles))


def test_a_cache_lies_as_attention_reads_it(device):
    cache = layers.cache_of(device, TOY, Span(3, 1, 11), "float32")
    assert cache.keys.shape == (3, 2, 11, 8)
    assert cache.newest(1).values.data_ptr() == cache.values[:, :, -1:].data_ptr()


def test_shapes_are_the_models_own():

    for shape in layers.SHAPES:
        model = models.model(shape.model)
        assert (shape.width, shape.head_dim, shape.ffn * shape.ranks) == (model.width, model.head_dim, model.ffn)
        assert (shape.heads * shape.ranks, shape.kv_heads * shape.ranks) == (model.heads, model.kv_heads)
