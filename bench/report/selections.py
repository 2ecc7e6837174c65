"""Which cases answer which question: what figures and words pick from the frame alike."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.report import frame

# The GEMM shapes that everyone quotes, beside which a winner is read.
QUOTED = ("cube-4096", "cube-8192", "cube-16384")
# Phase -> the shape at which backends are compared.
PHASES: Mapping[str, Mapping[str, Any]] = {
    "decode": {"layout": "gqa", "batch": 8},
    "prefill": {"layout": "mha", "batch": 1, "causal": True},
}


def cubes(rows: pd.DataFrame) -> list:
    """The quoted cubes of every dtype, as rows of the frame."""
    seen = frame.sound(rows, "peak", kind="gemm")
    return [row for row in frame.each(seen) if row.params.get("shape") in QUOTED]


def side_loops(rows: pd.DataFrame) -> list:
    """Tensor loops that claim no roof: instructions that are not the full rate path of the chip."""
    return [row for row in frame.each(frame.sound(rows, "peak", kind="tensor loop")) if not row.saturates]


def climbed(params: Mapping[str, Any]) -> str:
    """A rung's dtype; the ladder's first version climbed float32 only, and did not say so."""
    return str(params.get("dtype", "float32"))


def copies(rows: pd.DataFrame) -> pd.DataFrame:
    """The cases of hostcopy that stream on a link of their own, with path, memory and size."""
    seen = frame.sound(rows, "hostcopy")
    seen = seen.assign(
        path=frame.param(seen, "path"), memory=frame.param(seen, "memory"), size=frame.param(seen, "bytes")
    )
    alone = [not (params.get("waited") or params.get("company")) for params in seen["params"]]
    return seen[alone] if len(seen) else seen


def backend(params: Mapping[str, Any]) -> str:
    """ "default" is torch's own choice; the probe's first version knew no other."""
    return str(params.get("backend", "default"))


def default(rows: pd.DataFrame) -> pd.DataFrame:
    """Without the cases that name a backend."""
    return rows[[backend(params) == "default" for params in rows["params"]]] if len(rows) else rows


def rivals(rows: pd.DataFrame, phase: str) -> pd.DataFrame:
    """The sound cases of a phase at the shapes where backends are compared, torch's own choice among them.

    With columns `backend` and `length`; empty where no backend was named.
    """
    seen = frame.sound(rows, "attention", phase=phase, **PHASES[phase])
    seen = seen.assign(backend=[backend(params) for params in seen["params"]], length=frame.param(seen, "keys"))
    seen = seen[(seen["backend"] != "unfused") & seen["length"].notna()]
    named = seen[seen["backend"] != "default"]
    seen = seen[seen["length"] >= named["length"].min()] if len(named) else named
    return seen if seen["backend"].nunique() > 1 else seen.iloc[:0]


def streams(rows: pd.DataFrame) -> pd.DataFrame:
    """The bandwidth probe's sound cases with `mix`, `size` and `plain` stores; of several settings the fastest."""
    seen = frame.sound(rows, "bandwidth")
    seen = seen.assign(
        mix=frame.param(seen, "mix"),
        size=frame.param(seen, "bytes"),
        plain=[store == "plain" for store in frame.param(seen, "store")],
    )
    seen = seen[seen["byte_rate"].notna() & seen["size"].notna()]
    best = seen.sort_values("byte_rate", ascending=False).drop_duplicates(["mix", "size", "cache", "plain"])
    return seen.loc[sorted(best.index)]
