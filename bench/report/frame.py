"""A Run as tidy frames, which figures, tables and words share: one row per case, and one per roof and device."""

from collections import namedtuple
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from statistics import median

import pandas as pd

from bench.analysis.fit import Fit
from bench.analysis.summary import Summary
from bench.report import names
from bench.roofline import Roofline
from bench.schema import SUSTAINED
from bench.work import Work

CASES = (
    "device",
    "probe",
    "version",
    "params",
    "case",
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
ROOFS = ("device", "key", "rate", "low", "high", "n", "median", "ratio", "ratio_low", "ratio_high", "apart")

# A sibling stands apart where its whole interval does and where it is off by more than this or by four deviations.
APART = 0.03


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


def asked(work: Work) -> list[str]:
    """The roofs that a work needs, as keys without a method."""
    return [key for key, amount in ((work.compute, work.flops), (work.channel, work.bytes)) if amount]


def known(roofline: Roofline | None, work: Work) -> bool:
    """Whether a roofline has every roof that a work needs."""
    keys = asked(work)
    return roofline is not None and bool(keys) and all(key in roofline for key in keys)


def _case(fit: Fit, theory: Roofline | None, case: Summary) -> tuple:
    seconds, work = case.seconds, case.work
    measured, claimed = known(fit.roofline, work), known(theory, work)
    return (
        case.device,
        case.probe,
        case.version,
        case.params,
        names.case(case.params),
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


def sound(rows: pd.DataFrame, probe: str = "", **params: object) -> pd.DataFrame:
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


def siblings(fits: Sequence[Fit]) -> pd.DataFrame:
    """Every roof that two devices or more have, each beside the median of its siblings."""
    rows = []
    for key in dict.fromkeys(key for fit in fits for key in fit.roofs):
        have = [(fit.info.id, fit.roofs[key].roof) for fit in fits if key in fit.roofs]
        if len(have) < 2:
            continue
        middle = median(roof.rate for _, roof in have)
        spread = 1.4826 * median(abs(roof.rate / middle - 1) for _, roof in have)
        for device, roof in have:
            ratio, low, high = roof.rate / middle, roof.low / middle, roof.high / middle
            apart = abs(ratio - 1) > max(APART, 4 * spread) and not low <= 1 <= high
            rows.append((device, key, roof.rate, roof.low, roof.high, roof.n, middle, ratio, low, high, apart))
    return pd.DataFrame(rows, columns=ROOFS).astype({"apart": bool})


def shown(fits: Sequence[Fit]) -> Fit | None:
    """The device whose figures the page draws: the first of those with the most roofs and cases."""
    return max(fits, key=lambda fit: (len(fit.roofs), len(fit.cases)), default=None)
