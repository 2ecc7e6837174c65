"""A Document in one form of output: one file per form, or per family of forms, found by being here.

A form's file has `FORMS`: what `--format` calls it, which is also the end of its files' names, and a function from a
Document to text or bytes. It decides nothing: what is said stands in the Document.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from bench.report.document import Document


def forms() -> dict[str, Callable[[Document], str | bytes]]:
    """Every form by name."""
    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(__path__):
        found |= getattr(importlib.import_module(f"{__name__}.{module.name}"), "FORMS", {})
    return found
