"""python -m bench.measure.verify: docs/verify.md's text. With a device, what compute-sanitizer and ncu run."""

import json
import sys
from itertools import groupby

from bench.measure.verify import TEXTS, assumptions, kernels, work


def document() -> str:
    """docs/verify.md: a table of assumptions for each group."""
    parts = [TEXTS["introduction"].lstrip()]
    for group, members in groupby(assumptions().values(), lambda each: each.name.partition(".")[0]):
        rows = ["| check | what it proves | expected | where it fails |", "|---|---|---|---|"]
        for each in members:
            marks = " *short*" * each.brief + " *deep*" * each.deep
            rows.append(f"| `{each.name}`{marks} | {each.proves} | {each.expected} | {each.fix or '–'} |")
        parts.append("\n".join([f"## {TEXTS['groups'][group]}\n", *rows]))
    return "\n\n".join(parts)


def main(words: list[str]) -> int:
    if not words:
        print(document(), end="")
        return 0
    from bench.measure.device.open import open_device

    device = open_device(words[0])
    if "--counted" in words:
        print(json.dumps({"declared": work.launched(device)}))
        return 0
    outcome = kernels.compared(device, kernels.loaded(device.info))
    print(outcome.value or outcome.reason)
    return 0 if outcome.state != "fail" else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
