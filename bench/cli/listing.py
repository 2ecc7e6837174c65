"""The verb list: what can be measured, on what."""

import shutil
import textwrap
from collections.abc import Iterable, Sequence

from bench.cli.codes import OK

_INDENT = 14  # columns before what is said of a name


def listing() -> int:
    """Names the probes, the devices of this machine, the simulated products."""
    from bench import theory
    from bench.measure.device.open import resolve
    from bench.measure.probes import GROUPS, probes

    width = max(40, shutil.get_terminal_size().columns)
    print("probes (* only where they are named)")
    for name, found in probes().items():
        texts = dict.fromkeys([found.text.title, found.text.question])
        texts.pop(name, None)  # a probe without a title of its own
        print(*_entry(f"{'*' if found.asked else ' '} {name}", texts, width), sep="\n")
    print("several at once (--probes NAME)")
    for name, members in GROUPS.items():
        print(*_entry(f"  {name}", [", ".join(members)], width), sep="\n")
    print("devices (--device)")
    for name in dict.fromkeys([*resolve("auto"), "cpu"]):
        print(f"  {name}")
    print("simulated products (--device sim:SKU)")
    print(*_columns([product.sku for product in theory.products()], width), sep="\n")
    return OK


def _entry(name: str, texts: Iterable[str], width: int) -> list[str]:
    """The name with what is said of it beside it, each text on lines of its own that end between words."""
    lines = [line for text in texts for line in textwrap.wrap(text, width - _INDENT)]
    return [f"{head:<{_INDENT}}{line}" for head, line in zip([name, *[""] * len(lines)], lines, strict=False)]


def _columns(words: Sequence[str], width: int) -> list[str]:
    each = max(map(len, words)) + 2
    many = max(1, (width - 2) // each)
    return [
        "  " + "".join(f"{word:<{each}}" for word in words[start : start + many]).rstrip()
        for start in range(0, len(words), many)
    ]
