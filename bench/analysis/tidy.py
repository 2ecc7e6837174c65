"""A Run as a tidy frame, which plots, tables and findings share: one row per case and regime."""

import json
from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pandas as pd

from bench.analysis.fit import Fit
from bench.analysis.summary import Summary
from bench.roofline import Roofline
from bench.schema import SUSTAINED
from bench.work import Work

CASES = (
    "device",
    "probe",
    "version",
    "params",
    "work",
    "cache",
    "regime",
    "saturates",
    "seconds",
    "low",
    "high",
    "n",
    "kind",
    "flop_rate",
    "byte_rate",
    "intensity",
    "share",
    "theory_share",
    "limiter",
    "above",
    "clock_hz",
    "validity",
    "causes",
    "skip",
    "samples",
    "notes",
)
_NUMBERS = ("seconds", "low", "high", "flop_rate", "byte_rate", "intensity", "share", "theory_share", "clock_hz")


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


def _case(fit: Fit, theory: Roofline | None, case: Summary) -> tuple:
    seconds, work = case.seconds, case.work
    measured, claimed = known(fit.roofline, work), known(theory, work)
    return (
        case.device,
        case.probe,
        case.version,
        case.params,
        work,
        case.cache,
        case.regime,
        case.saturates,
        seconds.value if seconds else None,
        seconds.low if seconds else None,
        seconds.high if seconds else None,
        seconds.n if seconds else 0,
        seconds.kind if seconds else "",
        case.flop_rate,
        case.byte_rate,
        work.intensity if work.flops else 0.0,
        fit.share(case) if measured else None,
        theory.seconds(work) / seconds.value if claimed and seconds else None,
        fit.roofline.limit(work) if measured and seconds else "",
        fit.above(case) if measured else False,
        case.clock_hz,
        case.validity,
        "; ".join(case.causes),
        case.skip,
        case.samples,
        case.notes,
    )


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
