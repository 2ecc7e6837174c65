"""What several Runs say of one another, in sentences: computed from them, true of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bench import units
from bench.analysis.difference import EQUIVALENT, LEVEL, Against, Difference
from bench.report import names
from bench.report.words import listed, many, validity
from bench.schema import SUSTAINED, Run

# An interval that spans more than this factor says nothing.
_LOST = 100.0
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Label:
    """What a Run is called on every line and figure: a letter, that it is simulated, and in full what it is."""

    letter: str
    simulated: bool
    what: str

    @property
    def name(self) -> str:
        return f"{self.letter} (simulated)" if self.simulated else self.letter

    @property
    def full(self) -> str:
        role = ", reference" if self.letter == "A" else ""
        return f"{self.name}{role}: {self.what}"


def labels(runs: Sequence[Run]) -> tuple[Label, ...]:
    return tuple(
        Label(letter, run.environment.simulated, f"{machine(run)}, {run.environment.started[:16].replace('T', ' ')}")
        for letter, run in zip(_LETTERS, runs, strict=False)
    )


def machine(run: Run) -> str:
    kinds = Counter(device.name for device in run.environment.devices)
    made = [f"{count} × {name}" if count > 1 else name for name, count in kinds.items()]
    return ", ".join(made) or run.environment.product


def what(found: Difference) -> str:
    """ "DRAM", "BF16 tensor, best GEMM, sustained", "ridge: BF16 tensor, best GEMM / DRAM", "knee: FP32 ladder"."""
    lasting = ", sustained" if found.regime == SUSTAINED else ""
    if found.kind == "ridge":
        compute, _, memory = found.key.partition("/")
        return f"ridge: {names.roof(compute)} / {names.channel(memory)}{lasting}"
    if found.kind == "knee":
        return f"knee: {names.dtype(found.key)} ladder"
    if found.kind == "case":
        return f"{found.key}: {names.case(found.params or {})}{lasting}"
    return f"{names.roof(found.key)}{lasting}"


def short(found: Difference) -> str:
    """The same where there is room for little: "BF16 GEMM sustained", "ridge BF16 GEMM"."""
    lasting = " sustained" if found.regime == SUSTAINED else ""
    if found.kind == "ridge":
        return f"ridge {names.short(found.key.partition('/')[0])}{lasting}"
    return f"knee {names.dtype(found.key)}" if found.kind == "knee" else f"{names.short(found.key)}{lasting}"


def change(ratio: float) -> str:
    """ "−10.1 %", "+0.32 %", and "× 3.4" for what is another class of machine."""
    if not 0.5 < ratio < 2:
        return f"× {units.digits(ratio)}"
    if abs(ratio - 1) < 5e-6:
        return "0 %"
    share = round(abs(ratio - 1), 3) if abs(ratio - 1) > 0.01 else abs(ratio - 1)
    return f"{'−' if ratio < 1 else '+'}{units.percent(share, 2 if share < 0.1 else 3)}"


def span(found: Difference) -> str:
    """The interval in the same terms: "−10.9 % to −9.3 %"."""
    if not found.interval:
        return ""
    if found.interval[1] > _LOST * found.interval[0]:
        return "no useful interval"
    return " to ".join(change(bound) for bound in found.interval)


def visible(found: Difference) -> str:
    """The smallest difference that could have been seen: "1.3 %", "a factor of 4.2"."""
    share = found.visible or 0.0
    if share < 1:
        return units.percent(share, 2)
    return f"a factor of {units.digits(1 + share, 2)}" if (1 + share) ** 2 < _LOST else "none"


def verdict(found: Difference) -> str:
    """The word, and what it rests on: what could have been seen, or that the reader should take care."""
    if not found.judged:
        return f"not comparable: {found.reason}"
    if not found.differs:
        return f"no difference seen (could have been seen from: {visible(found)})"
    notes = [f"by less than {units.percent(EQUIVALENT, 1)}"] * found.equivalent
    notes += [f"{found.basis}: take care"] * (found.contrast is not None and found.contrast.few)
    return f"{found.verdict} ({', '.join(notes)})" if notes else found.verdict


def lead(found: Sequence[Against], named: Sequence[Label]) -> str:
    """One sentence about all of them."""
    if len(found) == 1:
        return headline(found[0], named[0], named[1])
    apart = [label for label, each in zip(named[1:], found, strict=True) if any(d.differs for d in _heads(each))]
    same = [
        label
        for label, each in zip(named[1:], found, strict=True)
        if label not in apart and any(d.judged for d in _heads(each))
    ]
    none = [label for label in named[1:] if label not in apart and label not in same]
    parts = []
    if apart:
        parts.append(f"{listed([x.name for x in apart])} {_differ(apart)} from {named[0].name} in headline roofs")
    if same:
        which = "those" if apart else "the headline roofs"
        parts.append(f"no difference to {named[0].name} was seen in {which} of {listed([x.name for x in same])}")
    if none:
        parts.append(f"{listed([x.name for x in none])} {_share(none)} no comparable headline roof with it")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _differ(who: Sequence[Label]) -> str:
    return "differs" if len(who) == 1 else "differ"


def _share(who: Sequence[Label]) -> str:
    return "shares" if len(who) == 1 else "share"


def _heads(each: Against) -> list[Difference]:
    return [found for found in each.of("roof") if found.headline]


def headline(each: Against, reference: Label, other: Label) -> str:
    """What the headline roofs say of one Run against the reference."""
    who = f"{other.name} against {reference.name}, {each.kinship}"
    judged = [found for found in _heads(each) if found.judged]
    if each.kinship == "the same Run":
        return f"{other.letter} is the same Run as {reference.letter}: everything is equal."
    if not judged:
        if not [found for found in each.of("roof") if found.reference and found.other]:
            return f"{who}: the two have no roof in common, so there is nothing to compare."
        reason = next((found.reason for found in _heads(each) if found.reason), "no headline roof in both")
        return f"{who}: no headline roof can be compared ({reason})."
    several = len(each.pairs) > 1
    parts = []
    for word in ("slower", "faster"):
        part = sorted((f for f in judged if f.verdict.endswith(word)), key=lambda f: abs((f.ratio or 1) - 1))[::-1]
        if part:
            named = [f"{short(f)} {change(f.ratio or 1.0)} ({span(f)})" for f in part[:3]]
            more = [many(len(part) - 3, "more", "more")] if len(part) > 3 else []
            perhaps = "perhaps " * all(f.verdict.startswith("perhaps") for f in part)
            parts.append(f"{perhaps}{word} in {len(part)} of {_count(judged, several)}, {listed([*named, *more])}")
    rest = [found for found in judged if not found.differs]
    if rest:
        seen = visible(max(rest, key=lambda found: found.visible or 0.0))
        others = "the other " * bool(parts)
        which = f"{others}{len(rest)}" if parts else f"any of {_count(judged, several)}"
        parts.append(f"no difference seen in {which} (any could have been seen from: {seen})")
    return f"{who}: {'; '.join(parts)}."


def _count(judged: Sequence[Difference], several: bool) -> str:
    return f"{many(len(judged), 'headline roof')}{' over all pairs' * several}"


def look_first(found: Sequence[Against], named: Sequence[Label], conditions: Sequence[str]) -> list[str]:
    """What a reader must know before believing a difference, gravest first."""
    runs = [found[0].reference, *(each.other for each in found)] if found else []
    fits = [found[0].ours, *(each.theirs for each in found)] if found else []
    lines = []
    pretend = [label.letter for label in named if label.simulated]
    if pretend and len(pretend) < len(named):
        is_, a = ("is", "a simulation") if len(pretend) == 1 else ("are", "simulations")
        lines.append(f"{listed(pretend)} {is_} {a} from a datasheet beside measured Runs: a claim, not a machine.")
    for label, run, those in zip(named, runs, fits, strict=True):
        judged = validity(run, those)
        if not run.complete:
            lines.append(f"{label.name} is incomplete: what is missing from it was not measured.")
        if judged.word in ("invalid", "empty"):
            lines.append(f"{label.name} is {judged.word}: differences from it say nothing of its machine.")
        elif judged.counts["suspect"] + judged.counts["invalid"]:
            doubtful = judged.counts["suspect"] + judged.counts["invalid"]
            cause = f", most often because {judged.causes[0][0]}" if judged.causes else ""
            lines.append(
                f"{label.name}: {doubtful} of {many(judged.counts.total(), 'measurement')} are not fully valid{cause}."
            )
    for label, each in zip(named[1:], found, strict=True):
        if "perhaps" in each.kinship:
            lines.append(
                f"{named[0].letter} and {label.letter} are {each.kinship}: a difference may be one between machines,"
                " and no regression."
            )
        elif not each.regression and each.kinship not in ("the same Run", "a simulated Run beside a measured one"):
            lines.append(
                f"{named[0].letter} and {label.letter} are {each.kinship}: this compares machines, and a difference is"
                " no regression."
            )
    if conditions:
        more = [many(len(conditions) - 6, "more", "more")] if len(conditions) > 6 else []
        shown = listed([*conditions[:6], *more])
        lines.append(f"What differs around the Runs, and may explain the numbers: {shown}.")
    few = [label.name for label, each in zip(named[1:], found, strict=True) if _few(each)]
    if few:
        lines.append(
            f"Against {listed(few)} some roofs rest on fewer than five repetitions: a difference then also needs ranges"
            " that do not overlap, and small ones stay unseen."
        )
    heads = sum(f.judged for each in found for f in _heads(each))
    if heads > 10:
        lines.append(
            f"{heads} headline comparisons are each judged at 95 %: expect about"
            f" {many(max(1, round(heads * LEVEL)), 'false alarm')} among them where nothing differs."
        )
    return lines


def _few(each: Against) -> bool:
    return any(d.judged and d.contrast is not None and d.contrast.few for d in each.of("roof"))


def paired(each: Against, other: Label) -> str:
    """Which device was compared with which, and why."""
    by: dict[str, list[tuple[str, str]]] = {}
    for pair in each.pairs:
        two = names.device(pair.other.info.id), names.device(pair.reference.info.id)
        by.setdefault(pair.matched, []).append(two)
    parts = [f"{_pairs(pairs)} ({why})" for why, pairs in by.items()]
    text = f"{other.name}: {'; '.join(parts) or 'no device to compare'}."
    if each.unmatched:
        text += f" Without counterpart: {listed([names.device(name) for name in each.unmatched])}."
    return text


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    if len(pairs) > 2 and all(x == y for x, y in pairs):
        return f"{many(len(pairs), 'device')}, {pairs[0][0]} to {pairs[-1][0]}, each with its namesake"
    return listed([f"{x} with {y}" for x, y in pairs])


def cases(each: Against, other: Label) -> str:
    """What the common cases say, as a sentence."""
    found = each.of("case")
    judged = [d for d in found if d.judged]
    if not found:
        return f"{other.name} has no case in common with the reference."
    if not judged:
        return f"{other.name}: {many(len(found), 'common case')}, none comparable: {found[0].reason}."
    counts = Counter(d.verdict for d in judged)
    apart = [
        f"{counts[word]} {word}" for word in ("slower", "perhaps slower", "faster", "perhaps faster") if counts[word]
    ]
    text = f"{other.name}: of {many(len(judged), 'common case')} {listed(apart) if apart else 'none differs'}"
    if apart:
        text += f"; in {counts['no difference seen']} no difference was seen" * bool(counts["no difference seen"])
        top = Counter(d.key for d in judged if d.differs).most_common(2)
        text += f". Most are of {listed([f'{key} ({count})' for key, count in top])}"
    return f"{text}."
