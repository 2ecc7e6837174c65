"""examples/ci on GitHub and GitLab: schemas, linters, and every shell step executed in a copy of the tracked files."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from bench.cli.codes import INCONCLUSIVE, OK, REGRESSED
from tests.examples.node import CI, HEALTHY, SLOW, lists, parsed, said
from tests.examples.steps import bash, fake, filled, ran, surroundings

GITHUB = sorted(CI.glob("github-*.yml"))
SCRIPTS = sorted(CI.rglob("*.sh"))


# --- schemas, linters


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", GITHUB),
        ("custom.github-workflows-require-timeout", GITHUB),
        ("vendor.gitlab-ci", [CI / "gitlab-ci.yml"]),
    ],
)
def test_schemas(schema, files):
    pytest.importorskip("check_jsonschema", reason="it brings the schemas")
    done = said(sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *files)
    assert done.returncode == 0, done.stdout


def test_yaml_style():
    pytest.importorskip("yamllint", reason="yamllint looks for duplicate keys and the like")
    rules = "{line-length: {max: 120}, document-start: disable, truthy: disable, braces: {max-spaces-inside: 1}}"
    done = said(sys.executable, "-m", "yamllint", "-d", f"{{extends: default, rules: {rules}}}", *CI.glob("*.yml"))
    assert done.returncode == 0, done.stdout


def test_actionlint():
    if not shutil.which("actionlint"):
        pytest.skip("no actionlint on the PATH")
    # the labels are the user's; `queue` is of May 2026
    done = said("actionlint", "-ignore", 'label ".+" is unknown', "-ignore", 'key "queue"', *GITHUB)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
@pytest.mark.parametrize("checker", ["sh -n", "dash -n", "shellcheck"])
def test_shell(checker, script):
    words = checker.split()
    if not shutil.which(words[0]):
        pytest.skip(f"no {words[0]} on the PATH")
    done = said(*words, script)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", GITHUB, ids=lambda path: path.name)
def test_what_a_stranger_could_abuse_is_closed(path):
    """No expression becomes shell code, nothing is granted by default, every action has a major version."""
    workflow = parsed(path)
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for job in workflow["jobs"].values():
        mine = "self-hosted" in job["runs-on"]
        granted = job.get("permissions", workflow["permissions"])
        assert not mine or set(granted.items()) <= {("contents", "read")}
        if mine and "pull_request" in workflow["on"]:
            assert "head.repo.full_name == github.repository" in job["if"]
        assert not mine or job["concurrency"]["cancel-in-progress"] is False
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")
            assert "uses" not in step or re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


def test_both_workflows_wait_for_each_other():
    nightly, request = (parsed(CI / name)["jobs"] for name in ("github-nightly.yml", "github-pull-request.yml"))
    context = {"matrix": nightly["gate"]["strategy"]["matrix"]["include"][0]}
    assert filled(nightly["gate"]["concurrency"]["group"], context) == request["measure"]["concurrency"]["group"]


# --- the steps


def test_without_a_baseline_nothing_is_said_and_the_run_can_be_blessed(blessed, node):
    assert blessed.codes["Gate"] == INCONCLUSIVE, blessed.said["Gate"]
    assert blessed.codes["Bless"] == OK, blessed.said["Bless"]
    assert list((node.home / "results").glob("*/baselines/*.jsonl"))


def test_a_slow_device_fails_the_step_and_its_files_are_kept(slow, node):
    assert slow.codes == {"Check the GPUs": 0, "Gate": REGRESSED, "Collect the Run": 0}, slow.said
    assert slow.outputs["verdict"] == "regressed"
    assert "::error" in slow.said["Gate"]
    assert "REGRESSED" in (node.folder / "temp" / "summary.md").read_text()
    upload = slow.given["Upload the report, to be opened in the browser"]
    assert upload["archive"] == "false"
    page = node.clone / upload["path"]
    assert page.is_file()
    assert "memory.dram.read" in page.read_text()
    folder = node.clone / slow.given["Upload the Run"]["path"].splitlines()[0]
    kept = {path.name for path in folder.iterdir()} - {page.name}
    assert kept == {"gpus.csv", "junit.xml", "gate.md", Path(slow.outputs["run"]).name, f"{page.stem}-serving.html"}
    assert "<failure" in (folder / "junit.xml").read_text()


def test_a_healthy_device_passes(healthy):
    assert set(healthy.codes.values()) == {OK}, healthy.said
    assert healthy.outputs["verdict"] in ("ok", "improved", "suspicious")
    assert "Bless" not in healthy.codes


def test_a_missing_gpu_stops_the_night_before_anything_is_measured(node, healthy):
    before = sorted((node.home / "results").rglob("*.jsonl"))
    node.see(lists(7))
    done = node.night(HEALTHY.format(4))
    node.see(lists(8))
    assert done.codes == {"Check the GPUs": 1}
    assert "expected 8 x NVIDIA H200, found 7" in done.said["Check the GPUs"]
    assert not done.given.keys() - {"step 0"}
    assert sorted((node.home / "results").rglob("*.jsonl")) == before


def test_gitlabs_job_fails_for_a_slow_device_only(node, healthy):
    found = parsed(CI / "gitlab-ci.yml")
    job = found[".gate"] | found["gpu-node-1"]
    assert job["allow_failure"]["exit_codes"] == INCONCLUSIVE
    assert job["resource_group"] == job["tags"][0]
    shutil.rmtree(node.clone / "build")
    variables = found[".gate"]["variables"] | found["gpu-node-1"]["variables"]
    environment = surroundings(
        node.programs,
        node.folder,
        **variables | {"RIDGEPOINT_DEVICE": SLOW.format(5), "RIDGEPOINT_HOME": str(node.home)},
    )
    install = [line for line in job["before_script"] if "venv" in line]
    assert install == job["before_script"], "a step other than the installation is not executed here"
    done = bash("\n".join(job["script"]), node.clone, environment)
    assert done.returncode == REGRESSED, done.stdout + done.stderr
    assert bash("\n".join(job["after_script"]), node.clone, environment).returncode == 0
    assert job["artifacts"]["when"] == "always"
    assert "<failure" in (node.clone / job["artifacts"]["reports"]["junit"]).read_text()
    folder = node.clone / job["artifacts"]["paths"][0]
    # the page, the one about serving beside it, and the Run
    assert sorted(path.suffix for path in folder.glob("2*")) == [".html", ".html", ".jsonl"]


def test_a_pull_request_gets_its_numbers_and_gates_nothing(node, tmp_path):
    workflow = parsed(CI / "github-pull-request.yml")
    measure, comment = workflow["jobs"]["measure"], workflow["jobs"]["comment"]
    for side in ("base", "head"):
        for folder in ("bench", "kernels", "examples"):
            shutil.copytree(node.clone / folder, tmp_path / side / folder)
        shutil.copytree(node.home / "venv", tmp_path / side / ".venv")
    (tmp_path / "temp").mkdir()
    # what the head measures is slower; the last --device counts
    slower = f'[ "$3" != gate ] || set -- "$@" --device {SLOW.format(2)}'
    fake(tmp_path / "head" / ".venv" / "bin", "python", f'{slower}\nexec {shlex.quote(sys.executable)} "$@"')
    context = {"runner": {"temp": tmp_path / "temp"}, "steps": {}}
    fixed = {key: str(value) for key, value in measure["env"].items()}
    environment = surroundings(
        node.programs,
        tmp_path,
        **fixed | {"RIDGEPOINT_DEVICE": HEALTHY.format(1), "RUNNER_TEMP": str(tmp_path / "temp")},
    )
    done = ran(measure, tmp_path, environment, context, without="Install")
    assert set(done.codes.values()) == {OK}, done.said
    text = Path(done.given["Upload the comment"]["path"]).read_text()
    assert text.startswith("<!-- ridgepoint:gate sim-h200-sxm -->")
    assert "REGRESSED" in text

    (tmp_path / "gate.md").write_text(text)
    fake(node.programs, "gh", f'printf "%s\\n" "$@" > {tmp_path}/words; cat gate.md > {tmp_path}/body')
    context = {"github": {"token": "t", "repository": "o/r", "event": {"pull_request": {"number": 7}}}, "steps": {}}
    done = ran(comment, tmp_path, environment, context, without="Install")
    assert done.codes == {"Comment": 0}
    assert (tmp_path / "words").read_text().split()[:3] == ["pr", "comment", "7"]


# --- README


def test_readme_names_every_file_and_no_other():
    text = (CI / "README.md").read_text()
    linked = set(re.findall(r"\]\(([^)#:]+)\)", text))
    assert linked == {str(path.relative_to(CI)) for path in CI.rglob("*.*") if path.name != "README.md"}


def test_history_in_a_branch(tmp_path):
    """README's three pieces: two nodes keep their Runs in one branch, one after the other."""
    text = (CI / "README.md").read_text()
    pieces = dict(re.findall(r"<!-- (\w+) -->\n```sh\n(.*?)```", text, re.S))
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    said("git", "init", "-q", "--bare", tmp_path / "origin")
    for name in ("one", "two"):
        said("git", "clone", "-q", tmp_path / "origin", tmp_path / name)
        (tmp_path / f"temp-{name}").mkdir()
    assert bash(pieces["once"], tmp_path / "one", surroundings(tmp_path, tmp_path, **who)).returncode == 0
    temporary = {name: str(tmp_path / f"temp-{name}") for name in ("one", "two")}
    where = {name: surroundings(tmp_path, tmp_path, RUNNER_TEMP=folder) for name, folder in temporary.items()}
    for name in ("one", "two"):
        done = bash(pieces["before"], tmp_path / name, where[name])
        assert done.returncode == 0, done.stderr
    for name in ("one", "two"):  # both began from the same commit
        results = tmp_path / f"temp-{name}" / "history" / "results" / "product"
        (results / ".cache").mkdir(parents=True)
        (results / ".cache" / "gate.json").write_text("{}")
        (results / f"{name}.jsonl").write_text("{}")
        done = bash(pieces["after"], tmp_path / name, where[name])
        assert done.returncode == 0, done.stderr
    listed = said("git", "--git-dir", tmp_path / "origin", "ls-tree", "-r", "--name-only", "gpu-history").stdout
    assert listed.split() == ["results/product/one.jsonl", "results/product/two.jsonl"]
