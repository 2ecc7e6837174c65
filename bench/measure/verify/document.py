"""docs/verify.md, made from the assumptions themselves: python -m bench.measure.verify > docs/verify.md"""

from collections.abc import Iterator

from bench.measure.verify import assumptions

_HEAD = """\
# What `python -m bench verify` tries

<!-- made by: python -m bench.measure.verify > docs/verify.md -->

Every assumption of the instrument, tried on the machine it stands on. Each check says what it saw, what was expected,
and pass, fail, or why it was not available here. Exit code 1 where one fails, else 0; 2 for a wrong word, 3 where the
machine is in use or nothing could be tried, 5 where no device could be opened, 130 where you end it.

    python -m bench verify                     this machine, about a minute
    python -m bench verify --device cuda:0     one GPU
    python -m bench verify --deep              with what needs minutes or tools (ncu, compute-sanitizer, likwid-bench)
    python -m bench verify --json              for a program

What is timed is timed in pairs whose halves take turns, and decided by an interval (order statistics of the pairs'
ratios, at least 99 %), never by a single number: a check fails where the whole interval lies beyond what is allowed,
and does so again with three times the pairs. Where the pairs do not agree well enough, or where others worked on the
machine meanwhile, the answer is "not available: too noisy". Checks marked *short* also run inside every `all` but a
sniff, within three seconds, and stand on its page under "How far to trust these numbers".
"""
_TITLES = {
    "kernels": "Kernels",
    "time": "Time",
    "cache": "Cold and hot",
    "work": "Declared work",
    "clock": "Clock",
    "energy": "Energy and units",
    "libraries": "Libraries",
    "witness": "An independent witness",
}


def document() -> str:
    return "\n".join([_HEAD, *_sections()])


def _sections() -> Iterator[str]:
    group = ""
    for each in assumptions().values():
        if (mine := each.name.partition(".")[0]) != group:
            group = mine
            yield f"## {_TITLES.get(group, group)}\n"
            yield "| check | what it proves | expected | where it fails |"
            yield "|---|---|---|---|"
        marks = "".join(f" *{word}*" for word, is_so in (("short", each.brief), ("deep", each.deep)) if is_so)
        yield f"| `{each.name}`{marks} | {each.proves} | {each.expected} | {each.fix or '–'} |"
        if _last(each.name):
            yield ""


def _last(name: str) -> bool:
    names = list(assumptions())
    following = names[names.index(name) + 1 :]
    return bool(following) and following[0].partition(".")[0] != name.partition(".")[0]
