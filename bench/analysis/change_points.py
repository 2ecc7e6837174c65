"""Where a long history changed its level, as E-divisive sees it: information beside the moves, never the gate.

Apache Otava (E-divisive by Matteson & James 2014, with the windows and t-tests of Hunter, Fleming et al. 2023) runs as
a program in an environment of its own, for its pins exclude ours; it reads CSV files and answers in JSON. Its p stands
at .001 and its windows at 50 Runs. What would make a mark wrong: its t-tests take Runs for independent, so a drift
becomes a staircase and neighbours that follow one another become steps; nothing corrects for the many series asked; and
a side of fewer than ten Runs may be a passing thing. It fills gaps with the value before them, so only series that were
valid in the same Runs share a table, and nothing is filled.

Of 1000 simulated series each, noise 0.7 %: a step of -3 % after 20 of 40 Runs was placed exactly in 97.2 % and within a
Run in 99.7 %, down and up again after 20 and 40 of 60 both within a Run in 99.3 %; the newest 1, 2, 3 and 5 Runs after
a step showed it in 1, 92, 98 and 99 %. Of 4000 unchanged ones, 0.9, 1.4, 1.3, 1.8 and 2.6 % were marked at 10, 20, 40,
60 and 100 Runs (with ten Runs on each side 0, 0.1, 0.2, 0.6 and 0.9 %); of 1000 of 60 Runs with neighbours correlated
by 0.3 and 0.6, 12 and 39 %. A steady drift of -3 % over 60 Runs was marked in 98 %.
"""

import csv
import json
import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import msgspec

from bench.analysis.history import History
from bench.analysis.run_entry import Change
from bench.analysis.series import SEARCHED, Series, SeriesPoint
from bench.store import RunError

# Settings: the largest p, the least change of the mean, Runs looked at at once, the least Runs before and after.
MOST_P, LEAST, WINDOW, AFTER = 0.001, 0.01, 50, 2
# Runs on each side before a change point is trusted.
TRUSTED = 10
INSTALL = "python3 -m venv .otava && .otava/bin/pip install apache-otava==0.8.0"
# Otava takes a number of ten digits for seconds since 1970, quickly; other forms cost a millisecond each.
_FIRST, _LAST = 1_000_000_000, 9_999_999_999


@dataclass(frozen=True)
class ChangePoint:
    """A series changed its level between two valid Runs: since and at, the first after, which is in `file`.

    changes: what is recorded to have changed between the two. ratio: the mean after over the mean before, each up to
    the next change point. p: otava's, to six digits (0 is less than a millionth). before, after: valid Runs in the two.
    """

    series: Series
    since: float
    at: float
    file: str
    run: str
    changes: tuple[Change, ...]
    ratio: float
    p: float
    before: int
    after: int

    @property
    def trusted(self) -> bool:
        return min(self.before, self.after) >= TRUSTED


@dataclass(frozen=True)
class ChangePoints:
    """What was found, in order of time; judged: series that were searched; left_out: why others were not, or parts."""

    points: tuple[ChangePoint, ...]
    judged: int
    left_out: tuple[tuple[Series, str], ...]


# Valid points of one series that may be compared: no probe measures otherwise from one to another.
Stretch = tuple[Series, tuple[SeriesPoint, ...]]


@dataclass(frozen=True)
class OtavaTable:
    """Stretches of one device and budget with valid values in the same Runs: one CSV file, a column for each."""

    name: str
    columns: Mapping[str, Stretch]


def change_points(history: History, executable: Path | str, patience: float = 600.0) -> ChangePoints:
    """Those of every series long enough, by the otava at `executable`, which has `patience` seconds.

    Raises RunError where it cannot be started, fails, or answers with something else than asked.
    """
    program = _program(str(executable))
    stretches, left_out = searched(history)
    asked = tables(stretches)
    points: list[ChangePoint] = []
    if asked:
        with TemporaryDirectory(prefix="ridgepoint-") as folder:
            export(asked, Path(folder))
            points = parsed(_answer(program, asked, Path(folder), patience), asked, str(executable))
    judged = len({id(series) for series, _ in stretches})
    return ChangePoints(tuple(sorted(points, key=lambda point: point.at)), judged, left_out)


# --- what is asked


def searched(history: History) -> tuple[tuple[Stretch, ...], tuple[tuple[Series, str], ...]]:
    """Every stretch with Runs enough, and why other series or parts of them are left out."""
    kept, left_out = [], []
    for series in history.series:
        if not series.known:
            left_out.append((series, "its Runs are redacted and may be of many devices"))
            continue
        for points in _stretches(series):
            if len(points) >= SEARCHED:
                kept.append((series, points))
                continue
            why = f"{len(points)} of the {SEARCHED} valid Runs that a search needs"
            if 0 < len(points) < sum(segment.n for segment in series.segments):
                first, last = (datetime.fromtimestamp(points[end].at, UTC).strftime("%Y-%m-%d") for end in (0, -1))
                why += f", from {first} to {last} (the same probe version)"
            left_out.append((series, why))
    return tuple(kept), tuple(left_out)


def _stretches(series: Series) -> Iterator[tuple[SeriesPoint, ...]]:
    starts = [at for at, segment in enumerate(series.segments) if not (at and segment.joined)]
    for first, end in pairwise([*starts, len(series.segments)]):
        yield tuple(point for segment in series.segments[first:end] for point in segment.valid)


def tables(stretches: Sequence[Stretch]) -> tuple[OtavaTable, ...]:
    groups: dict[tuple, list[Stretch]] = defaultdict(list)
    for series, points in stretches:
        groups[series.device, series.budget, tuple(point.file for point in points)].append((series, points))
    columns = [{f"s{number}": stretch for number, stretch in enumerate(group)} for group in groups.values()]
    return tuple(OtavaTable(f"t{number}", each) for number, each in enumerate(columns))


def export(asked: Sequence[OtavaTable], folder: Path) -> Path:
    """A CSV file for each table, and otava's configuration (JSON is YAML too), whose path is returned.

    No text of a Run but its id goes into either: columns and tables are numbered.
    """
    tests = {}
    for table in asked:
        path = folder / f"{table.name}.csv"
        with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
            writer = csv.writer(file)
            writer.writerow(["time", "run", *table.columns])
            for points in zip(*(points for _, points in table.columns.values()), strict=True):
                # a wrong clock must not cost the Run its place: only order and label hang on the time
                at = min(max(int(points[0].at), _FIRST), _LAST - 1)
                writer.writerow([at, points[0].run.run_id, *(repr(point.value.value) for point in points)])
        # every headline is a rate or a ridge; the direction decides only which changes otava would call regressions
        metrics = {name: {"column": name, "direction": 1} for name in table.columns}
        tests[table.name] = {"type": "csv", "file": str(path), "time_column": "time"}
        tests[table.name] |= {"attributes": ["run"], "metrics": metrics}
    config = folder / "otava.yaml"
    config.write_text(json.dumps({"tests": tests}, indent=1))
    return config


# --- the program


def _program(executable: str) -> str:
    path = Path(executable)
    if found := shutil.which(executable) or shutil.which(path.absolute()):
        return str(Path(found).absolute())
    if path.is_dir():
        raise RunError(f"{executable} is a folder: give otava's own path, such as {path / 'bin' / 'otava'}")
    if path.exists():
        raise RunError(f"{executable} is not executable: give the path of otava, such as .otava/bin/otava")
    raise RunError(f"no otava at {executable}. Install it in an environment of its own: {INSTALL}")


def _answer(program: str, asked: Sequence[OtavaTable], folder: Path, patience: float) -> str:
    """What it prints: a line of JSON for each table."""
    # by default it drops what is older than a year; its option for p cannot be spelled in 0.8.0, and stands at .001.
    words = ["--output", "json", "--since", str(_FIRST), "--until", str(_LAST), "--magnitude", str(LEAST)]
    words += ["--window", str(WINDOW), *(table.name for table in asked)]
    command = [program, "analyze", "--config-file", str(folder / "otava.yaml"), *words]
    # variables such as BRANCH, OTAVA_CONFIG and PYTHONPATH, and a configuration at home, would change what it does.
    clean = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "LANG": "C.UTF-8", "TZ": "UTC"}
    texts = {"text": True, "encoding": "utf-8", "errors": "replace", "capture_output": True}
    try:
        done = subprocess.run(
            command, cwd=folder, env=clean, stdin=subprocess.DEVNULL, timeout=patience, check=False, **texts
        )
    except subprocess.TimeoutExpired:
        raise RunError(f"{program} had not ended after {patience:g} s: give it fewer Runs") from None
    except OSError as error:
        raise RunError(f"{program} cannot be run: {error.strerror or error}. Is it otava?") from None
    # the cause of most failures stands in the last line
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    last = f": {''.join(c for c in lines[-1] if c.isprintable())[:200]}" if lines else ""
    if done.returncode:
        raise RunError(f"{program} failed with exit status {done.returncode}{last}")
    if not done.stdout.strip():
        raise RunError(f"{program} printed nothing{last}. Is it otava?")
    return done.stdout


# --- what it answers


@dataclass(frozen=True)
class _OtavaChange:
    metric: str
    index: int
    pvalue: float


@dataclass(frozen=True)
class _OtavaRun:
    attributes: Mapping[str, str]
    changes: list[_OtavaChange]


def parsed(answer: str, asked: Sequence[OtavaTable], program: str) -> list[ChangePoint]:
    """Otava's answer as change points. Raises RunError where it is of another form, or of other Runs than asked."""
    by_name = {table.name: table for table in asked}
    points: list[ChangePoint] = []
    try:
        for line in filter(str.strip, answer.splitlines()):
            # its numbers are texts, some of them
            for name, runs in msgspec.json.decode(line, type=dict[str, list[_OtavaRun]], strict=False).items():
                points += _points(by_name.pop(name), runs)
    except (msgspec.DecodeError, KeyError, IndexError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
        raise RunError(
            f"the answer of {program} is not understood ({why}): this reads apache-otava 0.8.0. {INSTALL}"
        ) from None
    if by_name:
        raise RunError(f"{program} did not judge {len(by_name)} of {len(asked)} tables of this history")
    return points


def _points(table: OtavaTable, runs: Sequence[_OtavaRun]) -> Iterator[ChangePoint]:
    chances: dict[str, dict[int, float]] = defaultdict(dict)
    for run in runs:
        for change in run.changes:
            point = table.columns[change.metric][1][change.index]
            if change.index < 1 or run.attributes["run"] != point.run.run_id.encode(errors="replace").decode():
                raise ValueError(f"point {change.index} is another Run")
            chances[change.metric][change.index] = change.pvalue
    for name, chance in chances.items():
        yield from _levels(*table.columns[name], chance)


def _levels(series: Series, points: Sequence[SeriesPoint], chance: Mapping[int, float]) -> Iterator[ChangePoint]:
    """Change points that keep the settings, with their levels over all valid Runs up to their neighbours.

    chance: place -> p.
    """
    kept = [at for at in sorted(chance) if AFTER <= at <= len(points) - AFTER and chance[at] <= MOST_P]
    ends = [0, *kept, len(points)]
    means = [fmean(point.value.value for point in points[a:b]) for a, b in pairwise(ends)]
    for number, at in enumerate(kept):
        before, after = points[at - 1], points[at]
        began = [s.changes for s in series.segments[1:] if before.at < s.points[0].at <= after.at]
        changes = tuple(change for each in began for change in each)
        ratio, counts = means[number + 1] / means[number], (at - ends[number], ends[number + 2] - at)
        found = (after.file, after.run.run_id, changes, ratio, chance[at])
        yield ChangePoint(series, before.at, after.at, *found, *counts)
