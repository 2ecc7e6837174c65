"""The verb `serving` as a person types it: README's example, what --json promises, and one clear line for bad input."""

import json
import re
import shlex
from pathlib import Path

import pytest

from bench import cli

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()
H200 = ("--device", "sim:h200-sxm")


def typed(capsys, *words: str) -> tuple[int, str, str]:
    code = cli.main(["serving", *words])
    return code, *capsys.readouterr()


def test_the_readme_example(capsys):
    block = re.search(r"<!-- serving example -->\n```sh\n(.*?)\n```", README, re.S)[1]
    command, promised = block.split("#")
    words = shlex.split(command)
    assert words[:4] == ["python", "-m", "bench", "serving"]
    code, out, _ = typed(capsys, *words[4:])
    assert code == 0
    assert promised.strip() in out
    assert re.search(r"^ +2 +24 .* 42 +TTFT +assumed\b", out, re.M), (
        "24 if all start at once, 42 if users stay out of phase"
    )
    assert "Memory holds 310 sequences" in out
    assert len(out.splitlines()) < 25, "the answer; --full has the rest"


def test_full_shows_every_question_behind_the_answer(capsys):
    code, out, _ = typed(capsys, "llama-3.1-8b", *H200, "--full")
    assert code == 0
    for caption in ("Latency floor", "Time to first token", "Closed loop", "Cost and energy", "Tensor parallel"):
        assert f"\n{caption}" in out
    (most,) = re.findall(r"Memory holds (\d+) sequences", out)
    assert re.search(rf"^ +{most} ", out, re.M), "the curve ends with as many as the memory holds"


def test_json_says_of_each_number_its_unit_its_roof_and_its_fixed_share(capsys):
    code, out, _ = typed(capsys, "llama-3.1-8b", *H200, "--json")
    found = json.loads(out)
    assert code == 0
    answers = [each for group in found["answers"].values() for each in group]
    assert len(answers) > 100
    for each in answers:
        assert each["unit"]
        assert each["bound"]
        assert 0 <= each["fixed"] <= 1 + 1e-9
        assert each["origin"] in ("measured", "formula", "assumed")


def test_a_run_and_what_fit_prints_of_it_give_the_same_answers(capsys, tmp_path):
    (run,) = Path(__file__).resolve().parent.parent.glob("results/amd-epyc-2c/20261120T184548Z*.jsonl")
    _, of_run, _ = typed(capsys, "llama-3.1-8b", "--run", str(run), "--json")
    assert cli.main(["fit", str(run), "--json"]) == 0
    file = tmp_path / "roofline.json"
    file.write_text(capsys.readouterr().out)
    _, of_file, _ = typed(capsys, "llama-3.1-8b", "--roofline", str(file), "--json")
    assert _numbers(json.loads(of_run)) == pytest.approx(_numbers(json.loads(of_file)), rel=1e-9)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--device", "sim:h200-sxm,dram=0.9"), "serving reads the datasheet alone; leave dram=0.9 out"),
        (("--roofline", "some/run.jsonl"), "is a Run: give it with --run"),
        ((*H200, "--price", "-1"), "USD per device and hour"),
        ((*H200, "--price", "cheap"), "USD per device and hour"),
    ],
)
def test_what_would_be_taken_for_something_else_is_refused(capsys, words, said):
    try:
        code = cli.main(["serving", "llama-3.1-8b", *words])
    except SystemExit as left:
        code = left.code
    err = capsys.readouterr().err
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_a_run_that_was_cut_short_answers_and_says_so(capsys, tmp_path):
    (run,) = Path(__file__).resolve().parent.parent.glob("results/amd-epyc-2c/20261128T141221Z*.jsonl")
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(run.read_bytes()[:200_000])
    code, out, err = typed(capsys, "llama-3.1-8b", "--run", str(cut))
    assert code == 0
    assert "Llama-3.1-8B on" in out
    assert "cut short" in err


def test_the_committed_run_checks_itself(capsys):
    """The table of docs/measured.md: what a reader may compute again."""
    (run,) = Path(__file__).resolve().parent.parent.glob("results/amd-epyc-2c/20261128T141221Z*.jsonl")
    code, out, _ = typed(capsys, "llama-3.1-8b", "--run", str(run), "--json")
    checked = json.loads(out)["inputs"]["self_check"]
    assert code == 0
    assert {phase: each["points"] for phase, each in checked.items()} == {"decode": 5, "prefill": 1, "mixed": 4}
    assert -1 < checked["decode"]["low"] < checked["decode"]["high"] < 0.4
    tpot = next(each for each in json.loads(out)["answers"]["time between tokens"] if each["name"] == "tpot")
    assert tpot["low"] <= tpot["value"] <= tpot["high"]


def _numbers(found: dict) -> list[float]:
    return [each["value"] for group in found["answers"].values() for each in group]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nope", *H200), "no model 'nope'; nearest"),
        (("llama-3.1-70b", *H200), "2 devices would do"),
        (("llama-3.1-70b", *H200, "--gpus", "3"), "cannot share its 64 heads"),
        (("llama-3.1-8b", *H200, "--batch", "0"), "batch must be"),
        (("llama-3.1-8b", *H200, "--batch", "x"), "give whole numbers"),
        (("llama-3.1-8b", *H200, "--context", "-1"), "negative"),
        (("llama-3.1-8b", *H200, "--context", "999999"), "takes 131072 tokens"),
        (("llama-3.1-8b", *H200, "--sla", "tps=30,tpot=1s"), "contradict each other"),
        (("llama-3.1-8b", *H200, "--weights", "fp9"), "did you mean fp8?"),
        (("llama-3.1-8b",), "needs one machine"),
        (("llama-3.1-8b", "--device", "cuda:0"), "give its Run"),
        (("llama-3.1-8b", "--device", "sim:h300"), "no GPU 'h300'"),
        (("llama-3.1-8b", "--run", "none.jsonl"), "no such Run file"),
        (("llama-3.1-8b", "--roofline", "none.json"), "none.json"),
    ],
)
def test_bad_input_is_one_clear_line(capsys, words, said):
    code, out, err = typed(capsys, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_a_configuration_that_is_none(capsys, tmp_path):
    config = tmp_path / "config.json"
    for text, said in (("{", "JSON"), ("{}", "config.json"), ('{"model_type": "llama"}', "config.json")):
        config.write_text(text)
        code, _, err = typed(capsys, str(config), *H200)
        assert code == 2
        assert said in err
        assert len(err.strip().splitlines()) == 1
