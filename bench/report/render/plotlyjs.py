"""Plotly's own script without the chart types that no page here draws: 1.1 of 4.8 MB, so that a page stays small.

The bundle is a list of modules, each a function that runs when another asks for it, and a list of chart types to
register: only scatter (always in) and bar stay, with what they reach. A bundle of another shape is used whole.
"""

import re

from plotly.offline import get_plotlyjs

_KEPT = {"bar"}
_MODULE = re.compile(r"var ([\w$]+)=([\w$]+)\((?:\([\w$,]*\)|[\w$]+)=>\{")
_CALL = re.compile(r"([\w$]+)\(\)")
_LIST = re.compile(r"\.register\(\[((?:[\w$]+\(\),?)+)\]\)")
_TRACE = re.compile(r'moduleType:"\w+",name:"(\w+)"')


def bundle() -> str:
    """The script to inline, licence header included."""
    whole = get_plotlyjs()
    return _reduced(whole) or whole


def _reduced(whole: str) -> str:
    """ "" where the bundle has not the shape that is known."""
    heads, listed = list(_MODULE.finditer(whole)), _LIST.search(whole)
    if len(heads) < 100 or listed is None or listed.start() < heads[-1].start():
        return ""
    starts = [head.start() for head in heads]
    texts = [whole[a:b] for a, b in zip(starts, [*starts[1:], len(whole)], strict=True)]
    at = {head[1]: place for place, head in enumerate(heads)}
    asks = [[at[name] for name in set(_CALL.findall(text)) if name in at] for text in texts]
    types = {name: _type(at[name], texts, asks) for name in _CALL.findall(listed[1]) if name in at}
    kept = [name for name, found in types.items() if found in _KEPT]
    if len(kept) < len(_KEPT):
        return ""
    lazy = heads[-1][2]
    asks[-1] = [place for place in asks[-1] if heads[place][1] not in types or heads[place][1] in kept]
    # what is no module of the lazy kind, or has statements behind it, stays
    todo = [k for k, text in enumerate(texts) if heads[k][2] != lazy or not text.endswith("});")]
    todo += [at[name] for name in _CALL.findall(whole[: starts[0]]) if name in at]
    reached: set[int] = set()
    while todo:
        place = todo.pop()
        if place not in reached:
            reached.add(place)
            todo += asks[place]
    texts[-1] = texts[-1].replace(listed[1], ",".join(f"{name}()" for name in kept))
    return whole[: starts[0]] + "".join(text for place, text in enumerate(texts) if place in reached)


def _type(place: int, texts: list[str], asks: list[list[int]]) -> str:
    """The chart type that a registered module is, or passes on; "" for none."""
    for _ in range(4):
        if found := _TRACE.search(texts[place]):
            return found[1]
        if len(asks[place]) != 1:
            break
        place = asks[place][0]
    return ""
