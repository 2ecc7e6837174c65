"""The rows of a frame of cases that a question is about, with columns of their params, and beside their partners.

Rows are as bench.analysis.tidy.cases has them. A Run of a newer version may hold anything in its params and notes: what
is no number above 0, and what has no time, is passed over.
"""

import math
from collections.abc import Sequence

import pandas as pd

from bench.analysis.names import told

_MOST = 1e15  # beyond this no axis helps
LOSS = 0.97  # `times` below this are no noise: it is slower


def usable(rows: pd.DataFrame, probe: str = "", **params: object) -> pd.DataFrame:
    """The measured rows of a probe whose params have these values."""
    keep = rows["seconds"].notna()
    if probe:
        keep &= rows["probe"] == probe
    for name, wanted in params.items():
        keep &= rows["params"].map(lambda given, name=name, wanted=wanted: given.get(name) == wanted).astype(bool)
    return rows[keep]


def param(rows: pd.DataFrame, name: str) -> list:
    """One param of every row, None where a case lacks it."""
    return [params.get(name) for params in rows["params"]]


def varying(rows: pd.DataFrame) -> list[str]:
    """The params that tell these cases apart; of a single case all."""
    names = dict.fromkeys(name for params in rows["params"] for name in told(params))
    return [name for name in names if len(set(map(repr, param(rows, name)))) > 1 or len(rows) == 1]


def numbered(rows: pd.DataFrame, *names: str) -> pd.DataFrame:
    """With a column for each of these params, without the rows where one is no number above 0."""
    kept = [all(countable(params.get(name)) for name in names) for params in rows["params"]]
    rows = rows[pd.Series(kept, index=rows.index, dtype=bool)]
    return rows.assign(**{name: param(rows, name) for name in names}).astype(dict.fromkeys(names, float))


def texts(rows: pd.DataFrame, *names: str) -> pd.DataFrame:
    """With a column for each of these params, as text."""
    return rows.assign(**{name: list(map(str, param(rows, name))) for name in names})


def countable(value: object) -> bool:
    """Whether it is a number above 0 that a float holds."""
    return is_number(value) and 0 < value < _MOST


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def along_param(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """(the rows in order of the last param whose numbers differ, with that number as `x`, its name); where none does,
    (the rows as they stand, with their place as `x`, "").
    """
    params = dict.fromkeys(name for given in rows["params"] for name in told(given))
    numbers = {name: set(filter(is_number, param(rows, name))) for name in params}
    name = next((name for name in reversed(params) if len(numbers[name]) > 1), "")
    xs = param(rows, name) if name else list(range(1, len(rows) + 1))
    return rows[list(map(is_number, xs))].assign(x=list(filter(is_number, xs))).sort_values("x"), name


def noted(rows: pd.DataFrame, name: str) -> list[float]:
    """One note of every row as a number, NaN where it is none or infinite."""
    return [_number(notes.get(name)) for notes in rows["notes"]]


def _number(text: object) -> float:
    try:
        value = float(str(text))
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def methods(rows: pd.DataFrame) -> list[str]:
    """How these cases were computed, as their notes say."""
    return list(dict.fromkeys(str(notes["method"]) for notes in rows["notes"] if "method" in notes))


def ratio(rows: pd.DataFrame, base: pd.DataFrame, on: Sequence[str]) -> pd.DataFrame:
    """The rows that have a partner in `base` with the same columns `on`, with `times`: how much faster than it,
    `lighter`: how many times fewer bytes (NaN where it needs none), and the partner's `seconds_base`, `share_base`.

    A pair is as valid as the less valid of the two.
    """
    if rows.empty or base.empty:
        return rows.iloc[:0].assign(times=[], lighter=[], seconds_base=[], share_base=[])
    partners = base.drop_duplicates(list(on)).set_index(list(on))[["seconds", "validity", "share", "work"]]
    found = rows.join(partners.add_suffix("_base"), on=list(on), how="inner")
    doubts, works = (zip(found[name], found[f"{name}_base"], strict=True) for name in ("validity", "work"))
    return found.assign(
        times=found["seconds_base"] / found["seconds"],
        lighter=[base.bytes / own.bytes if own.bytes else math.nan for own, base in works],
        validity=[one if one != "valid" else other for one, other in doubts],
    )


def ends(rows: pd.DataFrame) -> pd.DataFrame:
    """The first and the last row, of a single one that."""
    return rows.iloc[[0, -1]] if len(rows) > 1 else rows
