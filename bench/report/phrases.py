"""Counts, lists and intervals in words: what the findings of every section are put together from."""

import re
import tomllib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from bench import units
from bench.roofline import Roof
from bench.stats import Estimate


@cache
def texts(name: str) -> dict[str, Any]:
    """A table of texts.toml."""
    return tomllib.loads(Path(__file__).with_name("texts.toml").read_text(encoding="utf-8"))[name]


def many(count: int, noun: str, plural: str = "") -> str:
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def listed(words: Sequence[str], most: int = 0) -> str:
    """ "a", "a and b", "a, b and c"; of more than `most` the rest as a count."""
    if most and len(words) > most:
        words = [*words[:most], f"{len(words) - most} more"]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def sentence(text: str) -> str:
    """With a capital first letter and a full stop."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}" if text else ""


def interval(value: Estimate, text: Callable[[float], str]) -> str:
    """ "4.75–4.85 TB/s", for a cell of a table. value: or a row with low, high and n."""
    return "one repetition" if value.n == 1 else units.between(value.low, value.high, text)


def spread(value: Estimate, text: Callable[[float], str]) -> str:
    """ "95 % interval 4.75–4.85 TB/s", or "range of 3: …"."""
    said, colon = interval(value, text), ":" * value.kind.startswith("range")
    return f"{said}, no interval" if value.n == 1 else f"{value.kind}{colon} {said}"


def rate_spread(roof: Roof) -> str:
    return spread(roof.estimate, lambda value: units.rate_text(value, roof.key))


def signed(ratio: float, significant: int = 2) -> str:
    """A ratio as a signed percentage ("−3.1 %"), a large one as a factor ("× 2.4")."""
    if not 0.5 < ratio < 2:
        return f"× {units.digits(ratio)}"
    share = abs(ratio - 1)
    return "±0 %" if share < 5e-6 else f"{'−' if ratio < 1 else '+'}{units.percent(share, significant)}"


def slug(name: str) -> str:
    """A name as an id: letters, digits and single dashes."""
    return re.sub("[^0-9A-Za-z]+", "-", name).strip("-") or "unnamed"


def plain(text: str) -> str:
    """A text of a machine or a file in one line, without control characters and without the marks of a command."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text).replace("`", "'").strip()
