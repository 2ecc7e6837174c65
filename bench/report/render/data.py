"""A Document for other programs: JSON with its verdicts, findings and values; its flat table as CSV or Parquet."""

import csv
import io
import json
from typing import Any

import msgspec
import pandas as pd

from bench.report.document import Document, Section
from bench.store import RunError

# A spreadsheet runs a text that begins like a formula.
_FORMULA = ("=", "+", "-", "@")


def as_json(document: Document) -> bytes:
    """Values in base units (Document.data), and beside them what every other form says in words."""
    said = {name: getattr(document, name) for name in ("title", "simulated", "banners", "verdicts", "findings")}
    said |= {"not_measured": document.absent, "sections": list(map(_section, document.every_section))}
    found = msgspec.to_builtins({**document.data, **said}, enc_hook=str)
    return (json.dumps(found, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode("utf-8", "replace")


def _section(section: Section) -> dict[str, Any]:
    figures = [{"id": plot.id, "title": plot.title, "says": plot.label} for plot in section.plots]
    kept = ("id", "title", "question", "formula", "findings", "notes")
    return {name: getattr(section, name) for name in kept} | {"plots": figures}


def as_csv(document: Document) -> bytes:
    """The flat table, base units. Raises RunError where the document has none."""
    return csv_text(_rows(document)).encode("utf-8", "replace")


def csv_text(rows: pd.DataFrame) -> str:
    """Safe to open in a spreadsheet, and without the samples, which no cell holds."""
    out, rows = io.StringIO(), rows.drop(columns=["samples"], errors="ignore")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows.columns)
    for row in rows.to_numpy(dtype=object).tolist():
        writer.writerow([_cell(value) for value in row])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, list | tuple | dict):
        return json.dumps(value)
    if value is None or value != value:
        return ""
    return f"'{value}" if isinstance(value, str) and value[:1] in _FORMULA else value


def as_parquet(document: Document) -> bytes:
    """The same as Parquet. Raises RunError without pyarrow."""
    out, rows = io.BytesIO(), _rows(document)
    try:
        rows.to_parquet(out, index=False)
    except ImportError:
        raise RunError("Parquet needs pyarrow: pip install 'ridgepoint[parquet]'") from None
    return out.getvalue()


def _rows(document: Document) -> pd.DataFrame:
    if document.rows is None:
        raise RunError("this report has no flat table to write; use json")
    return document.rows


FORMS = {"json": as_json, "csv": as_csv, "parquet": as_parquet}
