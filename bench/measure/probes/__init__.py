"""The questions: one file per probe, found by being here.

A probe is a generator over (info, budget) that *describes* cases one after another and never allocates:

    @probe(version=1, title="What is measured, in the field's term")
    def name(info, budget):
        '''What does the reader learn?

        How flops and bytes are counted.
        '''
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
from functools import partial

from bench.schema import Case, DeviceInfo, Key, ProbeText, case_key

Cases = Generator[Case, float | None, None]


class UnknownProbe(LookupError):
    """No probe of that name; the message names the nearest."""

    def __str__(self) -> str:
        return self.args[0]


@dataclass(frozen=True)
class Probe:
    """A registered probe. Raise `version` when the method changes what is measured."""

    name: str
    version: int
    cases: Callable[..., Cases]
    title: str = ""
    # its cases need every rank of the node at once (collectives)
    together: bool = False
    # its devices take turns, because they would share what is measured (a host link); others run at once
    alone: bool = False
    # it runs only where it is named, because `all` has no time for it
    asked: bool = False

    @property
    def text(self) -> ProbeText:
        """What a Run says of the probe: its title or name, and of its docstring the first paragraph and the rest."""
        question, *formula = (inspect.getdoc(self.cases) or "").split("\n\n")
        return ProbeText(self.title or self.name, " ".join(question.split()), " ".join(" ".join(formula).split()))


def probe(version: int, **facts: bool | str) -> Callable[[Callable[..., Cases]], Probe]:
    """Registers a generator function under its name, with the facts of a Probe."""
    return lambda cases: Probe(cases.__name__, version, cases, **facts)


# What runs first, and in this order; the rest follows by name.
ORDER = (
    *("bandwidth", "onchip", "latency", "peak", "intensity", "launch", "gemm", "attention", "hostcopy"),
    *("layer", "decode", "mixed", "quantised", "moe", "fusion", "capacity"),
)
# What `bench serving` answers from, by the name that asks for it all.
GROUPS = {"serving": ("bandwidth", "peak", "launch", "gemm", "attention", "allreduce", *ORDER[9:])}


def probes() -> dict[str, Probe]:
    """Every probe by name, in the order they run."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    known = {value.name: value for module in modules for value in vars(module).values() if isinstance(value, Probe)}
    names = [name for name in ORDER if name in known] + sorted(known.keys() - set(ORDER))
    return {name: known[name] for name in names}


def select(names: list[str]) -> list[Probe]:
    """The named probes in running order, a group's name standing for its probes; for no names all but those that must
    be asked for. Raises UnknownProbe.
    """
    known = probes()
    names = [member for name in names for member in GROUPS.get(name, (name,))]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, [*known, *GROUPS], 3)
            hint = f"did you mean {', '.join(near)}?" if near else f"choose from {', '.join([*known, *GROUPS])}"
            raise UnknownProbe(f"unknown probe {name!r}: {hint}")
    return [probe for name, probe in known.items() if (name in names if names else not probe.asked)]


def answered(cases: Cases, answer: Callable[[Case], float | None]) -> list[Case]:
    """Every case of a probe that is told these seconds of each."""
    plan = []
    try:
        plan.append(next(cases))
        while True:
            plan.append(cases.send(answer(plan[-1])))
    except StopIteration:
        return plan


def describe(info: DeviceInfo, probe: Probe, budget) -> list[Case]:
    """Every case of a probe without measuring: the plan of a dry run (searches take their first branch)."""
    return answered(probe.cases(info, budget), lambda case: None)


def cases_of(info: DeviceInfo, probe: Probe, keys: Sequence[Key], budget) -> list[Case]:
    """The cases of these keys without measuring: each search is told that what it tries is fast as far as it is like
    one of them, so that it ends there. A key that the probe no longer has is left out.
    """
    cases = []
    for key in dict.fromkeys(keys):
        # what is not searched may only be found too slow, which is no news here
        told = partial(_as_if, dict(key[2]))
        plan = [case for case in answered(probe.cases(info, budget), told) if not case.skip]
        # a search yields its winner last, with its claim
        cases += [case for case in plan if case_key(probe.name, probe.version, case.params) == key][-1:]
    return cases


def _as_if(wanted: dict, case: Case) -> float | None:
    """Seconds that make a search prefer what agrees with the wanted params in most of them and contradicts none."""
    if not case.search:
        return None
    if any(wanted.get(name) != value for name, value in case.params.items()):
        return 1.0
    # no two cases differ in work by as much as each further agreement is worth
    return 1e-9 ** (1 + len(case.params))
