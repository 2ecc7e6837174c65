"""What a gate wants measured is what is measured: pinned cases in a session and a record, simulated and real."""

from contextlib import suppress
from dataclasses import replace

import pytest

from bench import store
from bench.analysis.gate.metrics import metrics
from bench.analysis.gate.rule import suspects
from bench.analysis.gate.samples import pins
from bench.cli.console import open_console
from bench.gatekeeper import REPETITIONS, GateOptions, GateSession
from bench.measure.budget import BUDGETS
from bench.measure.device.cpu import open_cpu
from bench.measure.device.sim import open_simulated
from bench.measure.probes import cases_of, describe, select
from bench.measure.record import record
from bench.measure.session import NOTHING_SELECTED, CaseSelection, session
from bench.measure.supervisor import Opened
from bench.schema import CONFIRM, FIRST_ROUND, SUSTAINED, case_key
from bench.store import RunError
from tests.conftest import simulated_run

QUICK = BUDGETS["quick"]
TINY = replace(QUICK, case=0.004, headline=0.004, rounds=2, levels=(1,), memory=1 / 256, min_samples=3, launch=0.05)
GATE = tuple(range(FIRST_ROUND, FIRST_ROUND + REPETITIONS))
AGAIN = (CONFIRM + 1, CONFIRM + 2)
PROBES = ("bandwidth", "peak")


def followed(folder, **options) -> GateSession:
    return GateSession(folder, select([]), open_console(stderr=True), GateOptions(**options))


def sim(spec: str = "sim:h200-sxm"):
    return open_simulated(spec)[0]


def key(name: str, probe: str, budget=QUICK, info=None, **wanted):
    """The key of the one described case with these params."""
    (one,) = select([probe])
    info = info or sim().info
    found = [c for c in describe(info, one, budget) if all(c.params.get(k) == v for k, v in wanted.items())]
    assert found, name
    return case_key(one.name, one.version, found[0].params)


READ = key("read", "bandwidth", BUDGETS["standard"], mix="read", cache="cold")
GEMM = key("gemm", "peak", BUDGETS["standard"], kind="gemm", dtype="bfloat16", shape="cube-8192")


def measured(pinned: CaseSelection, spec: str = "sim:h200-sxm", probes=PROBES, budget=QUICK, **more):
    return list(session(sim(spec), select(list(probes)), budget, pinned=pinned, **more))


def mine(*pins_: tuple, device: str = "sim:h200-sxm:0") -> dict:
    return {device: pins_}


# --- a session


def test_with_repetitions_the_pinned_cases_are_all_that_is_measured():
    found = measured(CaseSelection(mine((READ, False), (GEMM, False)), GATE))
    turns = [(m.key, m.repetition) for m in found]
    assert sorted(turns, key=str) == sorted(((k, r) for k in (READ, GEMM) for r in (0, *GATE)), key=str)
    assert [r for _, r in turns] == sorted(r for _, r in turns), "round by round"
    assert all(m.seconds for m in found)


def test_a_second_look_warms_first_and_never_enters_the_rounds():
    found = measured(CaseSelection(mine((READ, False)), AGAIN, CONFIRM))
    assert [m.repetition for m in found] == [CONFIRM, *AGAIN]


def test_the_sustained_pin_is_measured_under_lasting_load_after_the_others():
    found = measured(CaseSelection(mine((GEMM, True), (READ, False), (GEMM, False)), GATE))
    regimes = [m.regime == SUSTAINED for m in found]
    assert regimes == sorted(regimes)
    assert [(m.key, m.repetition) for m in found if m.regime == SUSTAINED] == [(GEMM, r) for r in GATE]
    budgets = {m.stop_reason for m in found if m.regime == SUSTAINED}
    assert budgets == {"clock and power level over 4.0 s"}, "settled is settled, under every budget"


def test_beside_a_whole_run_the_pinned_cases_join_the_rounds():
    odd = key("odd", "peak", BUDGETS["standard"], kind="gemm", dtype="float16", shape="mamf-b200")
    whole, joined = measured(NOTHING_SELECTED), measured(CaseSelection(mine((odd, False), (READ, False))))
    rounds = list(range(FIRST_ROUND, FIRST_ROUND + QUICK.rounds - 1))
    assert [m.repetition for m in joined if m.key == odd] == rounds, "a shape that quick does not even search"
    assert not [m for m in whole if m.key == odd]
    turns = [m.repetition_key for m in joined]
    assert len(turns) == len(set(turns)), "what claims a roof anyway is not measured twice"
    assert {m.repetition_key for m in whole} <= set(turns)


def test_a_case_that_is_no_more_is_recorded_with_its_reason():
    gone = ("bandwidth", READ[1], (("mix", "none"), ("bytes", 5)))
    older = ("bandwidth", 1, READ[2])
    found = measured(CaseSelection(mine((gone, False), (older, True), (READ, False)), GATE))
    skips = {m.key: m for m in found if m.skip}
    assert skips[gone].skip == "no such case on this device any more"
    assert f"of version {READ[1]} now, and this case of version 1" in skips[older].skip
    assert skips[older].regime == SUSTAINED
    assert all(m.repetition >= FIRST_ROUND and not m.seconds for m in skips.values())
    assert [m.repetition for m in found if m.key == READ] == [0, *GATE]


def test_another_devices_pins_are_not_measured():
    assert measured(CaseSelection(mine((READ, False), device="sim:h200-sxm:1"), GATE)) == []
    assert measured(CaseSelection({}, GATE)) == []


def test_a_restart_goes_on_behind_what_was_done():
    gone = ("bandwidth", READ[1], (("mix", "none"),))
    pinned = CaseSelection(mine((READ, False), (GEMM, False), (GEMM, True), (gone, False)), GATE)
    whole = measured(pinned)
    for cut in range(len(whole)):
        done = {m.repetition_key: m.median if m.seconds else None for m in whole[:cut]}
        assert [m.repetition_key for m in measured(pinned, history=done)] == [m.repetition_key for m in whole[cut:]]


def test_a_pinned_case_has_the_time_of_a_headline():
    """What an ordinary case has would be too short for a number that gates."""
    decode = key("decode", "attention", BUDGETS["standard"], phase="decode", batch=8, backend="default")
    budget = replace(QUICK, case=1e-9, headline=10.0, min_samples=15, max_samples=20)
    found = measured(CaseSelection(mine((decode, False)), GATE), "sim:h200-sxm,noise=0.05", ("attention",), budget)
    assert [len(m.seconds) for m in found] == [20] * (1 + len(GATE))


# --- the cases of keys


@pytest.mark.parametrize("spec", ["sim:h200-sxm", "sim:t4", "sim:b200", "sim:jetson-agx-orin-64gb"])
def test_every_described_case_is_found_by_its_key(spec):
    info = sim(spec).info
    for probe in select([]):
        keys = {case_key(probe.name, probe.version, c.params) for c in describe(info, probe, QUICK) if not c.skip}
        found = {case_key(probe.name, probe.version, c.params) for c in cases_of(info, probe, list(keys), QUICK)}
        assert found == keys, probe.name


@pytest.mark.parametrize("budget", ["quick", "soak"])
@pytest.mark.parametrize("spec", ["sim:h200-sxm,gpus=2,noise=0.002:0.03,seed=5", "sim:t4,noise=0.002:0.03,seed=6"])
def test_whatever_a_run_of_any_budget_pins_can_be_measured_again(spec, budget):
    """Winners of searches included, which no description of the cases knows."""
    run = simulated_run(spec, budget=BUDGETS[budget])
    for info in run.environment.devices:
        chosen = pins(run, info)
        assert len(chosen) >= 15
        for probe in select([]):
            wanted = [pin[0] for pin in chosen.values() if pin[0][0] == probe.name]
            again = cases_of(info, probe, wanted, BUDGETS["standard"])
            assert {case_key(probe.name, probe.version, case.params) for case in again} == set(wanted)
            works = {m.key: m.work for m in run.measurements if m.seconds}
            for case in again:
                assert case.work == works[case_key(probe.name, probe.version, case.params)]


def test_the_work_of_a_unknown_key_is_left_out():
    (probe,) = select(["bandwidth"])
    assert cases_of(sim().info, probe, [("bandwidth", probe.version, (("mix", "none"),))], QUICK) == []
    assert cases_of(sim().info, probe, [], QUICK) == []


# --- what a gate asks for


def test_without_a_baseline_everything_that_the_registry_follows(tmp_path):
    info = sim().info
    asked = followed(tmp_path).everything([info])
    assert asked.repetitions == GATE
    assert {pin[0][0] for pin in asked.cases[info.id]} >= {"bandwidth", "peak", "gemm", "attention", "hostcopy"}
    assert len(asked.cases[info.id]) == len(set(asked.cases[info.id]))


def test_a_whole_run_repeats_what_gates_so_that_it_can_be_a_baseline(tmp_path):
    info, one = sim().info, followed(tmp_path)
    asked = one.beside([info])
    assert {pin[0][0] for pin in asked.cases[info.id]} == {"gemm", "attention"}, "what claims a roof is repeated anyway"
    assert asked.repetitions == ()
    assert not one.blessed
    run = simulated_run("sim:h200-sxm,dram=0.3", ["bandwidth"])
    assert one.again(run) is NOTHING_SELECTED, "without a baseline it does not gate"


def test_a_suspect_is_measured_again_and_nothing_else(tmp_path):
    spec = "sim:h200-sxm,noise=0.0005:0.001"
    base = gate(tmp_path, f"{spec},seed=1")
    bless(base, tmp_path)
    made = gate(tmp_path, f"{spec},seed=2,tensor.bfloat16=0.8")
    again = {m.params.get("dtype", m.probe) for m in made.measurements if m.repetition >= CONFIRM}
    assert again == {"bfloat16"}
    by_turn = {m.repetition_key[1:] for m in made.measurements if m.repetition >= CONFIRM}
    assert by_turn == {(False, CONFIRM + r) for r in range(4)} | {(True, CONFIRM + r) for r in range(1, 4)}
    judged = followed(tmp_path).judged(made)
    assert {v.metric.name for v in judged.verdicts if v.status == "regressed"} == {
        "gemm.bfloat16", "gemm.bfloat16.sustained", "tensor.bfloat16.loop",
    }  # fmt: skip
    assert suspects(judged) == {}


def test_nothing_is_measured_again_when_nothing_is_asked_to_be(tmp_path):
    spec = "sim:h200-sxm"
    bless(gate(tmp_path, spec), tmp_path)
    made = gate(tmp_path, f"{spec},dram=0.8", confirm=0)
    assert not [m for m in made.measurements if m.repetition >= CONFIRM]


def test_only_the_suspect_cases_are_looked_at_again_on_every_device(tmp_path):
    """A GPU that is only slow while its neighbours work would recover alone."""
    made = gate(tmp_path, "sim:h200-sxm,gpus=4,dram@2=0.8")
    again = [m for m in made.measurements if m.repetition >= CONFIRM]
    assert {m.device for m in again} == {f"sim:h200-sxm:{index}" for index in range(4)}
    assert {m.probe for m in again} <= {"bandwidth", "gemm", "attention"}


def gate(folder, spec: str, confirm: int = 3):
    one = followed(folder, confirm=confirm)
    made = record(
        [spec], select([]), replace(QUICK, name="gate quick"), 0, folder, ("bench", "gate"),
        choose=one.everything, again=one.again,
    )  # fmt: skip
    assert made.status == "complete"
    return store.read(made.path)


def bless(run, folder):
    from bench.analysis.gate import baselines

    baselines.bless(run, folder / run.environment.product)


# --- a record


def test_a_second_look_is_in_the_same_file_and_opens_nothing_anew(tmp_path):
    heard = []
    made = record(
        ["sim:h200-sxm,gpus=2"], select(["bandwidth"]), QUICK, 0, tmp_path, ("bench",), listen=heard.append,
        again=lambda run: CaseSelection(mine((READ, False), device="sim:h200-sxm:1"), AGAIN, CONFIRM),
    )  # fmt: skip
    run = store.read(made.path)
    assert run.complete
    again = [m for m in run.measurements if m.repetition >= CONFIRM]
    assert [(m.device, m.key, m.repetition) for m in again] == [("sim:h200-sxm:1", READ, r) for r in (CONFIRM, *AGAIN)]
    assert run.measurements[-3:] == tuple(again), "after everything else"
    assert [event.info.id for event in heard[:2]] == ["sim:h200-sxm:0", "sim:h200-sxm:1"]
    assert not [event for event in heard[2:] if isinstance(event, Opened)]


def test_what_is_judged_is_the_run_so_far(tmp_path):
    seen = []

    def again(run):
        seen.append(run)
        return NOTHING_SELECTED

    made = record(["sim:t4"], select(["bandwidth"]), QUICK, 0, tmp_path, ("bench",), again=again)
    (judged,) = seen
    run = store.read(made.path)
    assert judged.complete
    assert store.parse(("\n".join(store.raw_lines(judged)) + "\n").encode(), "").measurements == run.measurements


def test_ctrl_c_in_the_second_look_keeps_the_run(tmp_path):
    def listen(event):
        record_ = getattr(event, "measurement", None)
        if record_ and record_.repetition == AGAIN[0]:
            raise KeyboardInterrupt

    made = record(
        ["sim:h200-sxm"], select(["bandwidth"]), QUICK, 0, tmp_path, ("bench",), listen=listen,
        again=lambda run: CaseSelection(mine((READ, False)), AGAIN, CONFIRM),
    )  # fmt: skip
    run = store.read(made.path)
    assert made.status == run.end.status == "interrupted"
    assert [m.repetition for m in run.measurements][-2:] == [CONFIRM, AGAIN[0]]


def test_a_history_that_cannot_be_read_does_not_cost_the_run(tmp_path):
    """Minutes of measuring, and an end line that only says so."""

    def again(run):
        raise RunError("cannot list results/some-gpu: Input/output error")

    with suppress(RunError):
        record(["sim:t4"], select(["bandwidth"]), QUICK, 0, tmp_path, ("bench",), again=again)
    (path,) = tmp_path.rglob("*.jsonl")
    run = store.read(path)
    assert run.end is not None
    assert run.measurements


# --- for real


def test_pinned_cases_are_measured_on_this_host():
    device = open_cpu(seed=1)
    read = key("read", "bandwidth", BUDGETS["standard"], device.info, mix="read", cache="cold")
    loop = key("loop", "peak", BUDGETS["standard"], device.info, kind="loop", dtype="float32")
    pinned = CaseSelection({"cpu": ((read, False), (loop, False))}, AGAIN, CONFIRM)
    found = list(session(device, select(["bandwidth", "peak"]), TINY, pinned=pinned))
    assert sorted((m.key[0], m.repetition) for m in found) == [
        (probe, r) for probe in ("bandwidth", "peak") for r in (CONFIRM, *AGAIN)
    ]
    assert all(m.seconds and m.validity != "invalid" for m in found), [m.reasons for m in found]
    assert all(m.regime == "steady" for m in found)


def test_a_real_gate_and_its_second_look_by_fresh_processes(tmp_path):
    one = followed(tmp_path)
    budget, asked = replace(TINY, name="gate tiny"), []

    def choose(infos):
        everything = one.everything(infos)
        known = metrics(infos[0])
        chosen = one._pins(infos[0])
        wanted = [chosen[name] for name in ("memory.dram.read", "vector.float32.loop")]
        assert set(wanted) <= set(everything.cases["cpu"])
        assert known["memory.dram.read"].gates
        asked.extend(wanted)
        return replace(everything, cases={"cpu": tuple(wanted)})

    made = record(
        ["cpu"], select(list(PROBES)), budget, 0, tmp_path, ("bench",), choose=choose,
        again=lambda run: CaseSelection({"cpu": (asked[1],)}, AGAIN, CONFIRM),
    )  # fmt: skip
    run = store.read(made.path)
    assert made.status == "complete"
    turns = [(m.repetition_key[:2], m.repetition) for m in run.measurements if not m.skip]
    assert sorted(turns[:-3], key=str) == sorted(((pin, r) for pin in asked for r in (0, *GATE)), key=str)
    assert turns[-3:] == [(asked[1], r) for r in (CONFIRM, *AGAIN)]
    assert all(m.seconds for m in run.measurements)
