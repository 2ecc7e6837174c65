"""The Run inside its page: the file itself, and its cases as CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from bench import store
from bench.report.shell import Data, packed
from bench.schema import Run

# Base64 of the compressed Run beyond which medians are embedded instead of every sample, so that the page stays small.
MOST_RAW = 2_600_000


def downloads(run: Run, cases: Sequence[pd.DataFrame]) -> list[Data]:
    """cases: frame.cases of every device."""
    name = Path(run.source).stem or f"{run.environment.started[:10]}-{run.environment.run_id[:8]}"
    content, note, suffix = packed(_lines(run)), "", ".jsonl"
    if len(content) > MOST_RAW:
        medians = (replace(m, seconds=(m.median,), clock_hz=()) if m.seconds else m for m in run.measurements)
        content, suffix = packed(_lines(replace(run, measurements=tuple(medians)))), "-medians.jsonl"
        note = (
            "Too large to embed whole: each repetition is its median here; every sample is in"
            f" {Path(run.source).name or 'the Run file'}."
        )
    everything = pd.concat(cases, ignore_index=True) if cases else pd.DataFrame()
    return [
        Data("raw", name + suffix, "application/jsonl", content, note),
        Data("csv", f"{name}.csv", "text/csv", packed(csv_text(everything))),
    ]


def _lines(run: Run) -> str:
    return "".join(f"{line}\n" for line in store.raw_lines(run))


def csv_text(rows: pd.DataFrame) -> str:
    """Cases as CSV in base units, safe to open in a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = [column for column in rows.columns if column not in ("work", "samples", "params", "notes")]
    writer.writerow([*columns, "flops", "bytes", "channel", "compute"])
    for row in rows.to_dict("records"):
        demand = row["work"]
        values = ["" if row[c] is None or row[c] != row[c] else row[c] for c in columns]
        # a spreadsheet runs a text that begins like a formula
        values = [f"'{v}" if isinstance(v, str) and v[:1] in ("=", "+", "-", "@") else v for v in values]
        writer.writerow([*values, demand.flops, demand.bytes, demand.channel, demand.compute])
    return out.getvalue()
