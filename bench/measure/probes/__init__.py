"""The questions: one file per probe, found by being here.

A probe is a generator over (info, budget) that *describes* cases one after another and never allocates:

    @probe(version=1, title="...", question="...", formula="...")
    def name(info, budget):
        '''What the reader learns.'''
        seconds = yield Case(params=..., work=..., prepare=..., saturates=...)

`seconds` is the case's median time per launch, or None where it was skipped; it steers a search. Title, question and
formula travel in the Run and are what a page says of the probe.
"""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from bench.schema import Case, DeviceInfo, Key, ProbeText, case_key

Cases = Generator[Case, float | None, None]


class UnknownProbe(LookupError):
    """No probe of that name; the message names the nearest."""

    def __str__(self) -> str:
        return self.args[0]


@dataclass(frozen=True)
class Probe:
    """A registered probe. together: its cases need every rank of the node at once (collectives).

    alone: its devices take turns, because they would share what is measured (a host link); others run at once.
    asked: it runs only where it is named, because `all` has no time for it. title: what is measured, in the field's
    term; question: what the reader learns of it; formula: how its flops and bytes are counted.
    """

    name: str
    version: int
    together: bool
    alone: bool
    asked: bool
    cases: Callable[..., Cases]
    title: str = ""
    question: str = ""
    formula: str = ""

    @property
    def text(self) -> ProbeText:
        """What a Run says of the probe; one without a title has its name, one without a question its description."""
        return ProbeText(self.title or self.name, self.question or self.summary, self.formula)

    @property
    def description(self) -> str:
        return inspect.getdoc(self.cases) or ""

    @property
    def summary(self) -> str:
        return self.description.split("\n")[0]


def probe(
    version: int,
    together: bool = False,
    alone: bool = False,
    asked: bool = False,
    title: str = "",
    question: str = "",
    formula: str = "",
) -> Callable[[Callable[..., Cases]], Probe]:
    """Registers a generator function under its name. Raise `version` when the method changes what is measured."""

    def register(cases: Callable[..., Cases]) -> Probe:
        return Probe(cases.__name__, version, together, alone, asked, cases, title, question, formula)

    return register


def probes() -> dict[str, Probe]:
    """Every probe by name, in the order they run: as the floor plan lists them, then by name."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        for value in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            if isinstance(value, Probe):
                found[value.name] = value
    order = (
        *("bandwidth", "onchip", "latency", "peak", "intensity", "launch", "gemm", "attention", "hostcopy"),
        *("layer", "decode", "mixed", "quantised", "moe", "fusion", "capacity"),
    )
    return dict(
        sorted(found.items(), key=lambda item: (order.index(item[0]) if item[0] in order else len(order), item[0]))
    )


# What `bench serving` answers from, by the name that asks for it all.
GROUPS = {
    "serving": (
        *("bandwidth", "peak", "launch", "gemm", "attention", "allreduce"),
        *("layer", "decode", "mixed", "quantised", "moe", "fusion", "capacity"),
    )
}


def select(names: list[str]) -> list[Probe]:
    """The named probes in running order, a group's name standing for its probes; for no names all but those that must
    be asked for. Raises UnknownProbe.
    """
    known = probes()
    names = [each for name in names for each in GROUPS.get(name, (name,))]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, [*known, *GROUPS], 3)
            hint = f"did you mean {', '.join(near)}?" if near else f"choose from {', '.join([*known, *GROUPS])}"
            raise UnknownProbe(f"unknown probe {name!r}: {hint}")
    return [p for name, p in known.items() if (name in names if names else not p.asked)]


def describe(info: DeviceInfo, probe: Probe, budget) -> list[Case]:
    """Every case of a probe without measuring: the plan of a dry run (searches take their first branch)."""
    cases = probe.cases(info, budget)
    plan = []
    try:
        case = next(cases)
        while True:
            plan.append(case)
            case = cases.send(None)
    except StopIteration:
        return plan


def cases_of(info: DeviceInfo, probe: Probe, keys: Sequence[Key], budget) -> list[Case]:
    """The cases of these keys without measuring: each search is told that what it tries is fast as far as it is like
    one of them, so that it ends there. A key that the probe no longer has is left out.
    """
    found: dict[Key, Case] = {}
    for key in keys:
        cases, wanted = probe.cases(info, budget), dict(key[2])
        try:
            case = next(cases)
            while True:
                if case_key(probe.name, probe.version, case.params) == key and not case.skip:
                    found[key] = case  # a search yields its winner last, with its claim
                # what is not searched may only be found too slow, which is no news here
                case = cases.send(_as_if(wanted, case.params) if case.search else None)
        except StopIteration:
            pass
    return list(found.values())


def _as_if(wanted: dict, params) -> float:
    """Seconds that make a search prefer what agrees with the wanted params in most of them and contradicts none."""
    if any(wanted.get(name) != value for name, value in params.items()):
        return 1.0
    # no two cases differ in work by as much as each further agreement is worth
    return 1e-9 ** (1 + len(params))
