"""A Run as a tidy frame, which plots, tables and findings share: one row per case and regime; and the rows that a
question is about, with columns of their params, and beside their partners.

A Run of a newer version may hold anything in its params and notes: what is no number above 0, and what has no time, is
passed over.
"""

import json
import math
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pandas as pd

from bench.analysis.fit import Fit
from bench.analysis.names import told
from bench.analysis.summary import Summary
from bench.roofline import Roofline
from bench.schema import SUSTAINED
from bench.work import Work

CASES = (
    "device", "probe", "version", "params", "work", "cache", "regime", "saturates", "seconds", "low", "high", "n",
    "kind", "flop_rate", "byte_rate", "intensity", "share", "theory_share", "limiter", "above", "clock_hz", "validity",
    "causes", "skip", "samples", "notes",
)  # fmt: skip
_NUMBERS = ("seconds", "low", "high", "flop_rate", "byte_rate", "intensity", "share", "theory_share", "clock_hz")
_MOST = 1e15  # beyond this no axis helps
LOSS = 0.97  # `times` below this are no noise: it is slower


def cases(fit: Fit, theory: Roofline | None) -> pd.DataFrame:
    """Every case of one device in each regime. share, theory_share: attained part of what the measured roofs of that
    regime and the claimed roofs allow.
    """
    lasting = replace(fit, roofline=fit.sustained.roofline) if fit.sustained else fit
    found = [_case(lasting if case.regime == SUSTAINED else fit, theory, case) for case in fit.cases]
    types = dict.fromkeys(_NUMBERS, float) | {"n": int, "above": bool}
    # picking rows is quick from few blocks: strings are objects and not Arrow's, and copy() merges columns of one type
    return pd.DataFrame(found, columns=CASES, dtype=object).astype(types).copy()


def each(rows: pd.DataFrame) -> list:
    """As itertuples, many times faster for the few rows that a figure has."""
    kind = _row(tuple(rows.columns))
    return [kind(at, *row) for at, row in zip(rows.index, rows.to_numpy(dtype=object).tolist(), strict=True)]


@cache
def _row(columns: tuple[str, ...]) -> type:
    return namedtuple("Row", ("Index", *columns), rename=True)


def burst(rows: pd.DataFrame) -> pd.DataFrame:
    """Without the sustained regime, whose few cases are roofs of their own and not points beside the others."""
    return rows[rows["regime"] != SUSTAINED]


def has(value: float | None) -> bool:
    """Whether a cell holds a number: a frame turns a missing one into NaN."""
    return value is not None and value == value


def known(roofline: Roofline | None, work: Work) -> bool:
    """Whether a roofline has every roof that a work needs."""
    return roofline is not None and bool(work.asks) and not roofline.missing(work)


def _case(fit: Fit, theory: Roofline | None, case: Summary) -> dict[str, Any]:
    seconds, work = case.seconds, case.work
    measured, claimed = known(fit.roofline, work), known(theory, work)
    return {name: getattr(case, name, None) for name in CASES} | {
        "seconds": seconds.value if seconds else None,
        "low": seconds.low if seconds else None,
        "high": seconds.high if seconds else None,
        "n": seconds.n if seconds else 0,
        "kind": seconds.kind if seconds else "",
        "intensity": work.intensity if work.flops else 0.0,
        "share": fit.share(case) if measured else None,
        "theory_share": theory.seconds(work) / seconds.value if claimed and seconds else None,
        "limiter": fit.roofline.limit(work) if measured and seconds else "",
        "above": fit.above(case) if measured else False,
        "causes": "; ".join(case.causes),
    }


def flat(rows: pd.DataFrame, text: Callable[[Mapping[str, Any]], str]) -> pd.DataFrame:
    """For CSV and Parquet: what a case is and demands, in columns of plain values and base units. text: its params in
    words, for `case`.
    """
    demand = {name: [getattr(work, name) for work in rows["work"]] for name in ("flops", "bytes", "channel", "compute")}
    params = {"params": [json.dumps(dict(given)) for given in rows["params"]]}
    samples = {"samples": [list(seconds) for seconds in rows["samples"]]}
    found = rows.drop(columns=["work", "notes"]).assign(**params, **samples, **demand)
    found.insert(found.columns.get_loc("params") + 1, "case", list(map(text, rows["params"])))
    return found


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


def ratio(rows: pd.DataFrame, base: pd.DataFrame, on: Sequence[str], *also: str) -> pd.DataFrame:
    """The rows that have a partner in `base` with the same columns `on`, with `times`: how much faster than it,
    `lighter`: how many times fewer bytes (NaN where it needs none), and the partner's `seconds_base`, `share_base` and
    those of `also`. A pair is as valid as the less valid of the two.
    """
    carried = ["seconds", "share", *also]
    if rows.empty or base.empty:
        added = ["times", "lighter", *(f"{name}_base" for name in carried)]
        return rows.iloc[:0].assign(**{name: [] for name in added})
    partners = base.drop_duplicates(list(on)).set_index(list(on))[[*carried, "validity", "work"]]
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
