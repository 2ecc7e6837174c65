"""What a user gets: a full answer from a datasheet, a file and a Run; one clear line for what cannot be."""

import json
import math

import pytest

from bench import models
from bench.analysis.facts import facts as fit_facts
from bench.analysis.fit import fit
from bench.analysis.serving import ServingError
from bench.analysis.serving.answers import QUESTIONS, answer, to_json
from bench.analysis.serving.machine import LAUNCH, TYPICAL
from bench.analysis.serving.machine_io import of_facts, of_file, of_product, of_run
from bench.analysis.serving.planner import capacity
from bench.analysis.serving.request import PRESETS, ServingRequest, Sla, sla
from bench.analysis.serving.selfcheck import self_check
from bench.analysis.serving.step import decoding, prefilling, timed
from bench.transformer import FORMATS, Precision, Ranks
from tests.analysis.serving.flat import flat

LLAMA8, LLAMA70 = models.model("Llama-3.1-8B"), models.model("Llama-3.1-70B")
USERS, SYSTEM = "tokens per user", "tokens of the system"
LEAST = {
    "name": "bare",
    "roofs": [{"key": "dram", "rate": 4.5e12}, {"key": "tensor.bfloat16.library", "rate": 7.9e14}],
    "memory_bytes": 1.5e11,
}


@pytest.fixture(scope="module")
def h200():
    return of_product("h200-sxm")


@pytest.fixture(scope="module")
def full(h200):
    return answer(LLAMA8, h200, ServingRequest(price=2.0))


def test_every_question_is_answered_and_every_number_says_what_it_is(full):
    plain = json.loads(json.dumps(to_json(full)))
    assert not full.missing
    # a dense model has nothing to say of experts
    assert {name for name in QUESTIONS if not plain["answers"][name]} == {"experts"}
    for group in plain["answers"].values():
        for each in group:
            assert each["unit"]
            assert each["bound"]
            assert each["origin"] in ("measured", "formula", "assumed")
            assert 0 <= each["fixed"] <= 1


def test_the_system_has_a_users_rate_as_often_as_it_has_users(full):
    by_name = {name: [each for each in full["time between tokens"] if each.name == name] for name in (USERS, SYSTEM)}
    assert len({each.about["batch"] for each in by_name[USERS]}) > 2
    for user, system in zip(*by_name.values(), strict=True):
        assert user.about == system.about
        assert system.value == pytest.approx(user.about["batch"] * user.value)


def test_one_device_is_fully_efficient_and_no_two_are_more(full):
    found = [each for each in full["tensor parallel"] if each.name == "tensor-parallel efficiency"]
    assert {each.about["devices"] for each in found} >= {1, 2}
    for each in found:
        assert each.value == pytest.approx(1) if each.about["devices"] == 1 else 0.3 < each.value <= 1


def test_a_mixture_answers_of_its_experts(h200):
    found = answer(models.model("Qwen3-30B-A3B"), h200)
    assert found.find("distinct experts", batch=1, routing="uniform").value == 8
    assert found.find("critical batch, expert basis").value == pytest.approx(206.125 * 128 / 8)
    assert found["experts"]


def test_thirty_tokens_per_second_for_each_user_of_a_70b_model_on_two(h200):
    """Datasheet roofs, bf16: memory is what two of them have least of."""
    request = ServingRequest(ranks=Ranks(tensor=2), sla=sla("tps=30"), prompt=1024, output=256)
    found = answer(LLAMA70, h200, request)
    pick = found.find("sla batch, users out of phase", devices=2)
    room = 2 * 0.9 * h200.memory_bytes - 2 * LLAMA70.params_total
    fits = math.floor(room / (LLAMA70.kv_bytes_per_token(FORMATS["bf16"]) * 1280))
    assert found.find("largest batch", context=8192).value < fits
    assert 1 <= pick.value <= fits
    assert pick.bound in ("tpot", "ttft", "memory")


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (ServingRequest(batches=(0,)), "batch must be a whole number of 1 or more, not 0"),
        (ServingRequest(contexts=(-1,)), "a context cannot be negative: -1"),
        (ServingRequest(contexts=(1 << 20,)), "takes 131072 tokens of context; 1048576 were asked for"),
        (ServingRequest(ranks=Ranks(tensor=3)), "3 tensor-parallel ranks cannot share its 32 heads"),
        (ServingRequest(mode="lazy"), "unknown launch mode 'lazy'"),
        (ServingRequest(host=-1.0), "host's time per step must be 0 or more"),
        (ServingRequest(usable=0.0), "usable share of the memory"),
    ],
)
def test_what_cannot_be_served_is_one_clear_line(h200, request_, words):
    with pytest.raises(ServingError) as caught:
        answer(LLAMA8, h200, request_)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_that_does_not_fit_is_told_by_how_much_and_on_how_many_it_would(h200):
    with pytest.raises(ServingError, match=r"GiB short; 8 devices would do"):
        answer(models.model("Llama-3.1-405B"), h200)
    answer(models.model("Llama-3.1-405B"), h200, ServingRequest(ranks=Ranks(tensor=8)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tps=30,tpot=50ms", "contradict each other: 30 tokens/s per user are 33.3 ms"),
        ("ttft=2s,ttft=1s", "ttft is given twice"),
        ("ttft=2s,latency=1s", "contradict each other: a request may take"),
        ("ttft=-1s", "ttft"),
        ("speed=9", "cannot read the limit 'speed=9'"),
        ("tps=0", "tps limit must be more than 0"),
    ],
)
def test_limits_that_contradict_themselves_are_refused(text, words):
    with pytest.raises(ServingError, match=words):
        sla(text)


def test_limits_are_read_as_they_are_said():
    assert sla("ttft=500ms, tps=50") == Sla(ttft=0.5, tpot=0.02)
    assert (PRESETS["mlperf llama-3.1-405b interactive"].ttft, sla("mlperf llama-2-70b server").tpot) == (4.5, 0.2)


def test_a_file_of_two_roofs_and_a_memory_is_enough_and_says_what_it_assumes(tmp_path):
    path = tmp_path / "roofline.json"
    path.write_text(json.dumps(LEAST))
    machine = of_file(path)
    found = answer(LLAMA8, machine)
    step = timed(LLAMA8, machine, Precision(), decoding(1, 1))
    row = next(row for row in step.rows if row.operation.name == "gate-up")
    assert row.timed.seconds == pytest.approx(row.operation.work.bytes / 4.5e12 / TYPICAL["gemm"][1] + LAUNCH["graph"])
    assert found.partial
    assert {"gemm", "attention", "launch"} <= set(machine.partial)
    assert found.find("tpot", batch=1).origin == "assumed"
    assert found.find("drain time").origin == "measured"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"roofs": LEAST["roofs"][:1]}, "no compute roof"),
        ({"roofs": LEAST["roofs"][1:]}, "no roof `dram`"),
        ({"memory_bytes": 0}, "no memory_bytes"),
        ({"roofs": [{"key": "dram"}]}, "cannot be read as a Roofline"),
        ({"cases": [{"probe": "gemm", "seconds": 0}]}, "case 1: seconds must be more than 0"),
        ({"overheads_s": {"launch": {"graph": -1}}}, "negative"),
    ],
)
def test_a_file_that_lacks_what_it_needs_is_refused(changes, words):
    with pytest.raises(ServingError, match=words):
        of_facts(LEAST | changes, "roofline.json")


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(ServingError, match="no such file"):
        of_file(tmp_path / "missing.json")
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(ServingError, match="is not JSON"):
        of_file(tmp_path / "text.json")


def test_the_hosts_time_is_fixed_and_an_eager_kernel_waits_for_the_host():
    machine = flat(7e14, 2.8e12, start=3e-6)
    plain = timed(LLAMA8, machine, Precision(), decoding(1, 1024))
    slow = timed(LLAMA8, machine.using(host=1e-3), Precision(), decoding(1, 1024))
    assert slow.seconds == pytest.approx(plain.seconds + 1e-3)
    assert slow.parts["fixed"] == pytest.approx(plain.parts["fixed"] + 1e-3)
    assert sum(slow.shares.values()) == pytest.approx(1)
    eager = timed(LLAMA8, machine.using(mode="eager"), Precision(), decoding(1, 1024))
    assert min(row.timed.seconds for row in eager.rows) == pytest.approx(6e-6)
    assert eager.seconds > plain.seconds


def test_a_roof_that_is_attentions_own_is_not_made_smaller_twice():
    roofs = [*LEAST["roofs"], {"key": "tensor.bfloat16.attention.library", "rate": 5e14}]
    machine = of_facts(LEAST | {"roofs": roofs}, "roofline.json")
    row = next(r for r in timed(LLAMA8, machine, Precision(), prefilling(8192)).rows if "attention" in r.operation.name)
    assert row.timed.busy == pytest.approx(row.operation.work.flops / 5e14)
    plain = of_facts(LEAST, "roofline.json")
    row = next(r for r in timed(LLAMA8, plain, Precision(), prefilling(8192)).rows if "attention" in r.operation.name)
    assert row.timed.busy == pytest.approx(row.operation.work.flops / 7.9e14 / TYPICAL["attention prefill"][0])


def test_what_fits_counts_the_usable_share_the_reserve_and_whole_pages():
    machine = flat(7e14, 3e12, memory_bytes=100e9)
    found = capacity(LLAMA8, machine, Precision(), 1000, usable=0.8, reserve=4e9)
    weights, sequence = 2 * LLAMA8.params_total, 1008 * 131072
    assert found.batch == int((80e9 - 4e9 - weights) / sequence)
    assert capacity(LLAMA8, machine, Precision(), 1000, Ranks(tensor=2), usable=0.8).sequence == sequence / 2


def test_narrow_rows_cost_a_kernel_where_an_engine_does_not_fuse_it():
    machine, fp8 = flat(7e14, 2.8e12, start=3e-6), Precision(weights=FORMATS["fp8"])
    fused = timed(LLAMA8, machine, fp8, decoding(8, 1024))
    apart = timed(LLAMA8, machine.using(quantising="kernel"), fp8, decoding(8, 1024))
    # one before each of the four products of a layer; the head stays at 16 bits
    assert sum(row.operation.count for row in apart.rows) == sum(row.operation.count for row in fused.rows) + 4 * 32
    moved = 8 * 3 * (3 * 4096 + 14336) * 32
    assert apart.seconds - fused.seconds == pytest.approx(4 * 32 * 3e-6 + moved / 2.8e12)


PROBES = ("peak", "bandwidth", "gemm", "attention", "launch", "layer")


@pytest.fixture(scope="module")
def simulated(run_of):
    """A Run of a datasheet with a launch overhead: what is predicted from it is known to the digit."""
    return fit(run_of("sim:h200-sxm,overhead=2us", PROBES))[0]


def test_a_simulated_run_gives_back_its_own_machine(simulated):
    machine = of_run(simulated)
    assert machine.origin == "formula"
    assert machine.simulated
    assert machine.start == pytest.approx(2e-6, rel=1e-6)
    step = timed(LLAMA8, machine, Precision(), decoding(64, 1024))
    for row in step.rows:
        if row.operation.kind == "gemm":
            exact = max(row.timed.compute, row.timed.memory) + 2e-6
            assert row.timed.seconds == pytest.approx(exact, rel=0.1), row.operation.name


def test_a_layer_of_a_simulated_run_is_predicted_from_other_probes(simulated):
    found = self_check(simulated, of_run(simulated))
    assert len(found.checks) >= 4
    assert all(each.parts for each in found.checks)
    assert found.mean == pytest.approx(sum(abs(each.error) for each in found.checks) / len(found.checks))
    assert abs(found.worst.error) == max(abs(each.error) for each in found.checks)


def test_what_fit_writes_answers_as_the_run_does(simulated, tmp_path):
    path = tmp_path / "fit.json"
    path.write_text(json.dumps({"simulated": True, "devices": [fit_facts(simulated)]}))
    run, file = of_run(simulated), of_file(path)
    for step in (decoding(1, 1024), decoding(100, 5000)):
        mine, theirs = (timed(LLAMA8, machine, Precision(), step).seconds for machine in (run, file))
        assert theirs == pytest.approx(mine, rel=1e-12)


def test_a_run_that_lacks_curves_names_the_probes_and_answers_the_rest(run_of):
    machine = of_run(fit(run_of("sim:h200-sxm", ("peak", "bandwidth")))[0])
    found = answer(LLAMA8, machine)
    assert found.partial
    assert {"gemm", "attention"} <= set(to_json(found)["run_probes"])
    assert found.find("tpot", batch=1).origin == "assumed"
