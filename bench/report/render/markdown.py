"""A Document as Markdown for a pull request or a step summary: at most 64 KiB, every text of a machine kept as text."""

import re
from functools import cache
from importlib.resources import files

import jinja2

from bench.report.document import SYMBOLS, Document

# A comment on a pull request takes so much (GitHub refuses longer ones).
MOST = 65_000
_MARKS = re.compile(r"([\\*_\[\]|~#])")
# A name behind one of these would be told of it.
_MENTION = re.compile(r"([@#])(?=\w)")
_CUT = b"\n\n*Cut here: the whole is in the HTML report.*\n"


def render(document: Document) -> bytes:
    """The first screen, then every section's findings and short tables, cut at MOST bytes."""
    made = _template().render(document=document, symbols=SYMBOLS)
    data = (re.sub(r"\n{3,}", "\n\n", made).strip() + "\n").encode("utf-8", "replace")
    if len(data) <= MOST:
        return data
    return data[: MOST - len(_CUT)].decode(errors="ignore").rpartition("\n")[0].encode() + _CUT


def escaped(text: object) -> str:
    """Text that stays text in Markdown and in the HTML that it becomes; `commands` stay code."""
    parts = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split("`")
    if len(parts) % 2 == 0:  # an odd number of marks is no code
        return "\\`".join(_MARKS.sub(r"\\\1", part) for part in parts)
    parts = [_MENTION.sub("\\1\u200b", part) for part in parts]
    marked = (part.replace("|", "\\|") if k % 2 else _MARKS.sub(r"\\\1", part) for k, part in enumerate(parts))
    return "`".join(marked)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["md"] = escaped
    text = files("bench.report.render").joinpath("markdown.md.j2").read_text(encoding="utf-8")
    return environment.from_string(text)


FORMS = {"md": render}
