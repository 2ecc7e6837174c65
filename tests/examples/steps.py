"""Steps of a GitHub workflow, executed as its runner would: in order, by bash, `always()` after a failure as well.

It knows only the expressions that examples/ci uses; an action is not executed, but what it was given is handed back.
"""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Context = dict[str, Any]


@dataclass(frozen=True)
class Ran:
    """What became of a job: exit codes and output by step, and what each action was given."""

    codes: dict[str, int] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    given: dict[str, dict[str, str]] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)


def bash(script: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess:
    """A script as Actions runs it for `shell: bash`."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=dict(environment), capture_output=True, text=True, check=False)


def filled(text: Any, context: Context) -> str:
    """A text with its ${{ expressions }} replaced by their values."""
    return re.sub(r"\$\{\{(.*?)\}\}", lambda found: _shown(_value(found[1], context)), _shown(text))


def ran(job: Mapping[str, Any], folder: Path, environment: Mapping[str, str], context: Context, without: str) -> Ran:
    """The job's steps, but those named by `without`, executed in a folder."""
    result, failed = Ran(), False
    temporary = Path(environment["RUNNER_TEMP"])
    for number, step in enumerate(job["steps"]):
        name = step.get("name", f"step {number}")
        wanted = _value(str(step.get("if", "true")).removeprefix("${{").removesuffix("}}"), context)
        if name in without or not wanted or (failed and "always()" not in str(step.get("if"))):
            if "id" in step:
                context["steps"][step["id"]] = {"outcome": "skipped", "outputs": {}}
            continue
        if "uses" in step:
            result.given[name] = {key: filled(value, context) for key, value in step.get("with", {}).items()}
            continue
        output = temporary / f"output-{number}"
        own = {key: filled(value, context) for key, value in step.get("env", {}).items()}
        done = bash(step["run"], folder, {**environment, **own, "GITHUB_OUTPUT": str(output)})
        result.codes[name], result.said[name] = done.returncode, done.stdout + done.stderr
        failed = failed or done.returncode != 0
        if output.exists():
            result.outputs.update(line.split("=", 1) for line in output.read_text().splitlines())
        if "id" in step:
            context["steps"][step["id"]] = {
                "outcome": "failure" if done.returncode else "success",
                "outputs": dict(result.outputs),
            }
    return result


def fake(folder: Path, name: str, script: str) -> None:
    """A program of this name on the PATH that starts with `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def surroundings(programs: Path, home: Path, **more: str) -> dict[str, str]:
    """The environment of a runner: little, and nothing of the test's own."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "LD_LIBRARY_PATH") if key in os.environ}
    return {**kept, "PATH": f"{programs}:{kept['PATH']}", "HOME": str(home), **more}


def _value(expression: str, context: Context) -> Any:
    words = re.sub(
        r"'[^']*'|\b(?:matrix|steps|inputs|github|runner)(?:\.\w+)+",
        lambda found: found[0] if found[0].startswith("'") else f"look({found[0]!r})",
        expression,
    )
    for ours, theirs in (("&&", " and "), ("||", " or "), ("always()", "True"), ("true", "True")):
        words = words.replace(ours, theirs)

    def look(path: str) -> Any:
        found: Any = context
        for key in path.split("."):
            found = found.get(key, "") if isinstance(found, Mapping) else ""
        return found

    return eval(words.strip(), {"look": look})


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
