"""The verbs gate, baseline, history and calibrate as a person types them: words, exit codes, nothing lost."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from bench import cli
from bench.measure import exclusive
from bench.schema import CONFIRM
from bench.store import read

README = Path(__file__).resolve().parent.parent / "README.md"
SIM = "sim:h200-sxm,noise=0.002:0.007"
HOME = "results/sim-h200-sxm"


pytestmark = pytest.mark.usefixtures("unpaged")


@pytest.fixture(autouse=True)
def house(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # a lock of its own: whoever else measures on this machine is not waited for
    tell, _ = exclusive.exclusive.__wrapped__.__defaults__
    monkeypatch.setattr(exclusive.exclusive.__wrapped__, "__defaults__", (tell, tmp_path / "lock"))
    return tmp_path


def typed(*words: object) -> int:
    try:
        return cli.main([str(word) for word in words])
    except SystemExit as stop:
        return stop.code


def gate(seed: int = 1, *words: object, device: str = SIM) -> int:
    return typed("gate", "--device", f"{device},seed={seed}", *words)


def runs(home: str | Path = HOME) -> list[Path]:
    return sorted(Path(home).glob("*.jsonl"))


def newest(home: str | Path = HOME) -> Path:
    return max(runs(home), key=lambda path: path.stat().st_mtime_ns)


def files() -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in Path().rglob("*") if p.is_file() and ".cache" not in p.parts}


def told(capsys) -> dict:
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return json.loads(out)


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A folder in which a first gate was run and blessed: made once, copied often."""
    made = tmp_path_factory.mktemp("template")
    out = ("--out", made / "results", "--reports", made / "reports")
    assert typed("gate", "--device", f"{SIM},seed=1", *out) == 0
    assert typed("baseline", "set", newest(made / HOME), "--out", made / "results") == 0
    return made / "results"


@pytest.fixture
def blessed(house, template, capsys) -> Path:
    """A Run that is the baseline of the simulated device."""
    shutil.copytree(template, house / "results")
    capsys.readouterr()
    return newest()


# --- the worked example


def lines() -> list[tuple[str, int]]:
    """(command, the exit code that its comment names) of the README's example."""
    _, found, rest = README.read_text().partition("<!-- gate example -->")
    assert found, "README.md has no example that is marked `<!-- gate example -->`"
    block = re.match(r"\s*```\w*\n(.*?)```", rest, re.DOTALL)
    assert block, "a fenced block follows the mark"
    commands = [line for line in block[1].splitlines() if line.strip() and not line.startswith("#")]
    return [(line, int(re.search(r"#.*\bexit code (\d+)", line)[1])) for line in commands]


def test_the_readme_example(capsys):
    done = []
    for line, expected in lines():
        words = shlex.split(line, comments=True)
        assert words[:3] == ["python", "-m", "bench"], line
        # as a shell would
        words = [
            name for word in words[3:] for name in (sorted(map(str, Path().glob(word))) if "*" in word else [word])
        ]
        assert cli.main(words) == expected, line
        said = " ".join("".join(capsys.readouterr()).split())
        if cause := re.search(r"likely cause: (.*)", line):
            assert f"Likely cause: {cause[1]}" in said
        done.append((words[0], expected))
    assert ("baseline", 0) in done
    verdicts = [code for verb, code in done if verb == "gate"]
    assert verdicts[-2:] == [1, 0], "it fails for what is planted and passes when that is mended"


# --- gate


def test_a_first_gate_is_green_and_says_that_nothing_blessed_it(capsys):
    assert gate() == 0
    out, err = capsys.readouterr()
    assert "neither a baseline nor a history" in " ".join(out.split())
    assert "no baseline" in out
    assert "SIMULATED" in out
    assert err == ""
    assert len(runs()) == 1
    assert Path("reports", f"{newest().stem}.html").is_file()
    assert read(newest()).environment.budget == "gate quick"


def test_require_baseline_is_red_without_one(capsys):
    assert gate(1, "--require-baseline") == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "no baseline, and one is required" in said
    assert "to compare the next one with it: python -m bench baseline set results/" in said.replace("`", "")
    assert typed("baseline", "set", newest()) == 0
    assert gate(2, "--require-baseline") == 0


def test_a_planted_fault_is_regressed_with_its_cause_and_in_the_run(blessed, capsys):
    assert gate(3, "--json", device=f"{SIM},dram=0.9") == 1
    found = told(capsys)
    assert found["exit_code"] == 1
    run = read(newest())
    again = {(m.params.get("mix"), m.repetition) for m in run.measurements if m.repetition >= CONFIRM}
    assert {("read", CONFIRM + r) for r in range(4)} <= again
    assert "regressed" in json.dumps(found)
    assert "memory" in json.dumps(found)


@pytest.mark.parametrize(
    ("fault", "code"),
    [("dram=0.9", 1), ("tensor.bfloat16=0.8", 1), ("h2d=0.8", 1), ("vector.float32=0.5", 1), ("dram=1.1", 3),
     ("throttle=thermal", 3), ("throttle=power_brake", 3), ("vector.int32=0.5", 0)],
)  # fmt: skip
def test_exit_codes_of_faults(blessed, fault, code):
    assert gate(4, "--budget", "quick", device=f"{SIM},{fault}") == code


@pytest.mark.parametrize(("fail_on", "code"), [("never", 0), ("regression", 1), ("suspicious", 1)])
def test_what_fails_is_chosen(blessed, fail_on, code):
    assert gate(3, "--fail-on", fail_on, device=f"{SIM},dram=0.9") == code


def test_without_confirmation_a_suspicion_stays_one(blessed):
    slow = f"{SIM},dram=0.9"
    assert gate(3, "--confirm", 0, device=slow) == 0
    assert not [m for m in read(newest()).measurements if m.repetition >= CONFIRM]
    assert gate(3, "--confirm", 0, "--fail-on", "suspicious", device=slow) == 3


def test_a_run_is_judged_again_the_same_and_nothing_is_written(blessed, capsys):
    assert gate(3, device=f"{SIM},dram=0.9") == 1
    slow = newest()
    before = files()
    assert typed("gate", "--run", slow) == 1
    assert typed("gate", "--run", blessed) == 0
    assert {name: files()[name] for name in before} == before
    assert len(runs()) == 2


def test_all_gates_by_itself_when_there_is_a_baseline(blessed, capsys):
    device = ("--device", f"{SIM},seed=5,dram=0.9")
    assert typed("all", "--budget", "quick", *device) == 1
    out, _ = capsys.readouterr()
    assert "regressed" in out
    assert typed("run", "--probes", "bandwidth", "--budget", "quick", *device) == 0, "chosen probes are no gate"


def test_the_slow_gpu_of_a_node_is_named(capsys):
    assert gate(1, device="sim:h200-sxm,gpus=4,noise=0.002:0.007,dram@2=0.9") == 1
    out, _ = capsys.readouterr()
    assert "GPU 2" in out
    assert not re.search(r"GPU [013]: \d+ (regressed|suspicious)", out)


def test_a_node_is_compared_with_its_products_baseline(capsys):
    node = "sim:h200-sxm,gpus=4,noise=0.002:0.007"
    assert gate(1, device=node) == 0
    assert typed("baseline", "set", newest(f"{HOME}-x4"), "--product") == 0
    assert gate(2, device=node) == 0
    assert "product’s baseline" in " ".join(capsys.readouterr().out.split())


def test_enough_runs_are_a_history(blessed, capsys):
    first, rest = blessed.read_text().split("\n", 1)
    for day in range(1, 10):
        about = json.loads(first)
        about |= {"run_id": f"{day:032x}", "started": f"2026-01-0{day}T00:00:00.000Z"}
        blessed.with_name(f"{day}.jsonl").write_text(f"{json.dumps(about)}\n{rest}")
    assert gate(2, "--json") == 0
    found = json.dumps(told(capsys))
    assert "10 Runs in the same environment" in found
    assert "10 Runs since 2026-01-01" in found


# --- bad input: one clear line, the right code, nothing overwritten


def refused(capsys, code: int, message: str, *words: object) -> None:
    before = files()
    capsys.readouterr()
    assert typed(*words) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert message in err
    assert len(err.strip().splitlines()) == 1, err
    after = files()
    assert {name: after.get(name) for name in before} == before
    new = [name for name in after if name not in before]
    assert not [name for name in new if "baselines" in name], new


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gate", "--fail-on", "suspicous"], "did you mean suspicious?"),
        (["gate", "--confirm", "-1"], "confirm"),
        (["gate", "--confirm", "many"], "confirm"),
        (["gate", "--wait", "-1"], "wait"),
        (["gate", "--wait", "nan"], "wait"),
        (["gate", "--run", "none.jsonl"], "no such Run file: none.jsonl"),
        (["gate", "--run", "."], "is a folder"),
        (["gate", "--device", "sim:none"], "no GPU 'none' in the table"),
        (["gate", "--device", SIM, "--tolerances", "none.toml"], "no such file of tolerances: none.toml"),
        (["gate", "--device", SIM, "--export", "junit"], "write it as FORM=FILE"),
        (["gate", "--device", SIM, "--export", "=x"], "--export =x"),
        (["gate", "--device", SIM, "--export", "xml=x"], "unknown form 'xml'"),
        (["baseline", "sett", "x"], "did you mean set?"),
        (["baseline", "set"], "needs a RUN"),
        (["baseline", "set", "none.jsonl"], "no such Run file"),
        (["history", "list", "none"], "no such folder: none"),
        (["history", "list", "."], "no Runs"),
        (["history", "prune", "."], "no Runs"),
        (["history", "prune", ".", "--keep", "0"], "keep"),
        (["history", "prune", ".", "--keep", "-3"], "keep"),
        (["calibrate", "--runs", "2", "--device", SIM], "at least 5 Runs"),
        (["calibrate", "--runs", "x"], "runs"),
    ],
)
def test_wrong_words(capsys, words, message):
    refused(capsys, 2, message, *words)
    assert runs() == []


def test_no_baseline_to_show(capsys):
    refused(capsys, 3, "bless a Run with `baseline set RUN`", "baseline", "show")


def test_a_baseline_of_another_product(blessed, capsys):
    assert gate(1, device="sim:t4") == 0
    assert typed("baseline", "set", newest("results/sim-t4"), "--product") == 0
    assert typed("baseline", "set", newest("results/sim-t4")) == 0
    (own,) = Path(HOME, "baselines").glob("*.jsonl")
    (other,) = Path("results/sim-t4/baselines").glob("device-*.jsonl")
    own.write_bytes(other.read_bytes())
    message = "is of another product, simulated t4, and this is simulated h200-sxm"
    refused(capsys, 2, message, "gate", "--run", blessed)
    refused(capsys, 2, message, "gate", "--device", SIM)
    own.unlink()
    Path(HOME, "baselines", "product.jsonl").write_bytes(other.read_bytes())
    refused(capsys, 2, message, "gate", "--run", blessed)


def test_simulated_against_measured(blessed, capsys):
    (own,) = Path(HOME, "baselines").glob("*.jsonl")
    own.write_text(own.read_text().replace('"simulated":true', '"simulated":false'))
    refused(capsys, 2, "is measured and this Run is simulated", "gate", "--run", blessed)
    refused(capsys, 2, "is measured and this Run is simulated", "gate", "--device", SIM)


def test_an_incomplete_run(blessed, capsys):
    cut = Path("cut.jsonl")
    cut.write_text("".join(blessed.read_text().splitlines(keepends=True)[:20]))
    refused(capsys, 3, "the Run is incomplete", "gate", "--run", cut)
    refused(capsys, 2, "an incomplete Run cannot be a baseline", "baseline", "promote", cut)
    refused(capsys, 2, "an incomplete Run cannot be a baseline", "baseline", "set", cut, "--product")


def test_a_damaged_run_and_a_damaged_baseline(blessed, capsys):
    bad = Path("bad.jsonl")
    for text in ("", "{", "not a Run\n"):
        bad.write_text(text)
        refused(capsys, 2, "bad.jsonl", "gate", "--run", bad)
        refused(capsys, 2, "bad.jsonl", "baseline", "promote", bad)
    (own,) = Path(HOME, "baselines").glob("*.jsonl")
    own.write_text("{")
    refused(capsys, 2, own.name, "gate", "--run", blessed)
    refused(capsys, 2, own.name, "gate", "--device", SIM)
    refused(capsys, 2, own.name, "baseline", "show")


def test_a_throttled_run_is_no_baseline_and_does_not_judge(blessed, capsys):
    assert gate(2, device=f"{SIM},throttle=thermal") == 3
    refused(capsys, 2, "cannot be a baseline", "baseline", "promote", cut_short(newest()))
    assert typed("baseline", "promote", newest()) == 2


def cut_short(path: Path) -> Path:
    cut = Path("short.jsonl")
    cut.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    return cut


def test_a_case_that_was_renamed_is_missing(blessed, capsys):
    (own,) = Path(HOME, "baselines").glob("*.jsonl")
    renamed = own.read_text().replace('"mix":"read"', '"mix":"read","order":"forwards"')
    own.write_text(renamed)
    for fail_on in ("regression", "suspicious", "inconclusive"):
        assert gate(2, "--fail-on", fail_on) == 3
    out = " ".join(capsys.readouterr().out.split())
    assert "missing" in out
    assert "no such case on this device any more" in out
    assert gate(2, "--fail-on", "never") == 0


def test_a_history_with_corrupt_files(blessed, capsys):
    Path(HOME, "bad.jsonl").write_text("{")
    Path(HOME, "empty.jsonl").write_text("")
    assert gate(2) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "2 files of the history left out; bad.jsonl" in out
    assert typed("history", "list", HOME) == 0
    assert "2 files left out" in capsys.readouterr().out
    assert typed("history", "prune", HOME, "--keep", "1", "--yes") == 0
    assert Path(HOME, "bad.jsonl").exists()
    assert len(runs()) == 3


def test_a_second_gate_says_who_has_the_machine(house, capsys):
    with exclusive.exclusive(0):
        refused(capsys, 3, "another measurement has this machine: pid", "gate", "--device", "cpu", "--wait", "0")
        assert gate(1) == 0, "a datasheet needs no machine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version = 1\n[metrics.'memory.dram.red']", "did you mean memory.dram.read?"),
        ("version = 1\n[metrics.'memory.dram.read']\nfloor = 0", "must be a share between 0 and 1"),
        ("version = 1\n[metrics.'memory.dram.read']\nfloor = nan", "must be a share between 0 and 1"),
        ("version = 1\n[metrics.'memory.dram.read']\nflor = 0.1", "did you mean floor?"),
        ("version = 7", "version is 7"),
        ("nonsense", "not TOML"),
    ],
)
def test_tolerances_that_are_none(blessed, capsys, text, message):
    Path("own.toml").write_text(text)
    refused(capsys, 2, message, "gate", "--run", blessed, "--tolerances", "own.toml")
    refused(capsys, 2, message, "gate", "--device", SIM, "--tolerances", "own.toml")


def test_tolerances_of_a_user_hold(blessed):
    Path("own.toml").write_text("version = 1\n[metrics.'memory.dram.read']\nfloor = 0.2\n")
    slow = f"{SIM},dram=0.96"
    words = [
        f"[metrics.'{name}']\nfloor = 0.2\n" for name in ("memory.dram.triad", "gemv.bfloat16", "attention.decode")
    ]
    assert gate(2, device=slow) == 1
    Path("own.toml").write_text(Path("own.toml").read_text() + "".join(words))
    assert gate(2, "--tolerances", "own.toml", device=slow) == 0


def test_a_users_word_goes_over_the_calibration(blessed):
    (own,) = Path(HOME, "baselines").glob("device-*.jsonl")
    names = ("memory.dram.read", "memory.dram.triad", "gemv.bfloat16", "attention.decode")
    tables = "".join(f"[metrics.'{name}']\nfloor = 0.2\n" for name in names)
    own.with_suffix(".toml").write_text(f"version = 1\n{tables}")
    slow = f"{SIM},dram=0.9"
    assert gate(2, device=slow) == 0
    Path("own.toml").write_text("version = 1\n[metrics.'memory.dram.read']\nfloor = 0.02\n")
    assert gate(2, "--tolerances", "own.toml", device=slow) == 1


def test_github_outside_of_github(blessed, capsys, monkeypatch):
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"):
        monkeypatch.delenv(name, raising=False)
    assert typed("gate", "--run", blessed, "--github") == 2
    assert "is not set" in capsys.readouterr().err


def test_github_outside_of_github_is_said_before_anything_is_measured(blessed, capsys, monkeypatch):
    """Minutes of a GPU for a line that was known before."""
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"):
        monkeypatch.delenv(name, raising=False)
    refused(capsys, 2, "is not set", "gate", "--device", SIM, "--github")
    assert runs() == [blessed]


def test_an_export_that_fails_hides_no_verdict(blessed, capsys):
    Path("file").write_text("")
    assert gate(3, "--export", "md=file/gate.md", device=f"{SIM},dram=0.9") in (1, 2)
    out, err = capsys.readouterr()
    assert "cannot write" in out + err
    assert "REGRESSED" in out


def test_a_folder_that_cannot_be_written(blessed, capsys):
    Path("file").write_text("")
    assert typed("gate", "--device", SIM, "--out", "file/results") == 2
    _, err = capsys.readouterr()
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1


# --- baseline, history, calibrate


def test_a_baseline_is_replaced_only_by_promotion_and_kept(blessed, capsys):
    (own,) = Path(HOME, "baselines").glob("*.jsonl")
    before = own.read_bytes()
    assert gate(2, device=f"{SIM},dram=1.0") == 0
    refused(capsys, 2, "there is a baseline already", "baseline", "set", newest())
    assert typed("baseline", "promote", newest()) == 0
    (kept,) = Path(HOME, "baselines", "replaced").glob("*.jsonl")
    assert kept.read_bytes() == before != own.read_bytes()
    assert str(kept) in "".join(capsys.readouterr().out.split()), "though it is wider than the terminal"


def test_show_lists_what_is_expected(blessed, capsys):
    for words in ([], [HOME]):
        assert typed("baseline", "show", *words) == 0
        out = capsys.readouterr().out
        assert "memory.dram.read" in out
        assert "SIMULATED" in out


def test_pruning_says_first_what_it_would_delete(capsys):
    for seed in range(4):
        assert gate(seed) == 0
    assert typed("baseline", "set", newest()) == 0
    before, ordered = files(), runs()
    by_time = sorted(ordered, key=lambda path: read(path).environment.started)
    capsys.readouterr()
    assert typed("history", "prune", HOME, "--keep", 3) == 0
    out = capsys.readouterr().out.replace("\n", "")
    assert f"would delete {by_time[0]}" in out
    assert "say --yes" in out
    assert files() == before
    assert typed("history", "prune", HOME, "--keep", 3, "--yes") == 0
    assert set(runs()) == set(by_time[1:])
    assert typed("history", "prune", HOME, "--keep", 9, "--yes") == 0
    assert set(runs()) == set(by_time[1:])
    assert typed("history", "prune", HOME) == 2
    assert list(Path(HOME, "baselines").glob("*.jsonl"))


def test_calibration_is_what_the_next_gate_holds_to(blessed, capsys):
    noisy = ("--runs", 5, "--device", "sim:h200-sxm,noise=0.002:0.04,seed=3")
    assert typed("calibrate", *noisy) == 0
    (floors,) = Path(HOME, "baselines").glob("device-*.toml")
    assert 'metrics."memory.dram.read"' in floors.read_text()
    assert len(runs()) == 6
    assert gate(9, device=f"{SIM},dram=0.96") == 0, "4 % are noise here"
    floors.unlink()
    assert gate(9, device=f"{SIM},dram=0.96") == 1


def test_a_damaged_calibration_is_refused_and_can_be_made_anew(blessed, capsys):
    (own,) = Path(HOME, "baselines").glob("device-*.jsonl")
    floors = own.with_suffix(".toml")
    floors.write_text("nonsense")
    refused(capsys, 2, floors.name, "gate", "--device", SIM)
    assert typed("calibrate", "--runs", 5, "--device", "sim:h200-sxm,noise=0.002:0.04") == 0
    assert "[metrics" in floors.read_text()


def test_a_calibration_that_cannot_be_written_leaves_the_old_one(blessed, monkeypatch, capsys):
    (own,) = Path(HOME, "baselines").glob("device-*.jsonl")
    floors = own.with_suffix(".toml")
    floors.write_text("version = 1\n")
    from bench import store

    real = store.replaced

    def full(path, content):
        if path.suffix == ".toml":
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(store, "replaced", full)
    assert typed("calibrate", "--runs", 5, "--device", "sim:h200-sxm,noise=0.002:0.04") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert floors.read_text() == "version = 1\n"
