"""What a history says, in sentences: what moved, by how much and when, what changed then, and what cannot be told."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from statistics import median

from bench import units
from bench.analysis.history import SEARCHED, Change, History, Move, Point, Series
from bench.report import names
from bench.report.words import listed, many, spread

# Sentences of one kind before the rest is only counted; the tables have them all.
_MOST = 5


def metric(key: str) -> str:
    """ "DRAM", "BF16 tensor, best GEMM", "Ridge: BF16 tensor / DRAM"."""
    if key.startswith("ridge "):
        return f"Ridge: {names.quantity(key.removeprefix('ridge '))} / {names.channel('dram')}"
    return names.roof(key)


def text(key: str, value: float, significant: int = 4) -> str:
    """Four digits: what a history is read for is in the third and the fourth."""
    if key.startswith("ridge "):
        return units.intensity(value, significant)
    return units.rate_text(value, key, significant)


def day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def signed(ratio: float) -> str:
    """A ratio as a signed percentage: "−3.1 %"; two digits, as a move's interval deserves no more."""
    share = ratio - 1
    return f"{'−' if share < 0 else '+'}{units.percent(abs(share), 2)}" if share else "±0 %"


def moved(move: Move) -> str:
    """ "−3.1 % (−3.3 % to −2.9 %)"."""
    return f"{signed(move.ratio)} ({signed(move.low)} to {signed(move.high)})"


def change(found: Change) -> str:
    return f"{found.factor} {found.before} → {found.after}"


def changes(found: Sequence[Change]) -> str:
    return listed([change(each) for each in found])


def state(run) -> str:
    """How far one Run may be believed, in a word."""
    values = [value.validity for device in run.devices for value in device.values]
    if not any(word != "invalid" for word in values):
        return "invalid" if run.counts.get("invalid") else "empty"
    if run.status != "complete":
        return "incomplete"
    return next((word for word in ("invalid", "suspect") if word in values), "valid")


def lead(history: History) -> str:
    first, last = history.runs[0][1], history.runs[-1][1]
    when = f"on {day(first.at)}" if day(first.at) == day(last.at) else f"from {day(first.at)} to {day(last.at)}"
    what = f"{'simulated ' * history.simulated}Run{'s' * (len(history.runs) != 1)}"
    return f"{len(history.runs):,} {what} of {many(len(history.devices), 'device')} {when}."


def look_first(history: History) -> list[str]:
    """What moved and what to doubt, gravest first; one sentence where nothing moved."""
    found = [
        *_newest(history),
        *_changed(history, _own(history.moves)),
        *_alone(history, _own(history.moves)),
        *_astray(history),
        *_doubts(history),
    ]
    if not any(move.verdict == "moved" for move in history.moves):
        found.insert(0, _nothing_moved(history))
    return found


def _nothing_moved(history: History) -> str:
    judged = sum(move.verdict == "still" for move in history.moves)
    tried = sum(s.n >= SEARCHED for each in history.series if each.known for s in each.segments)
    if not judged and not tried:
        return "There are too few valid Runs to say whether anything moved."
    where = [f"{many(judged, 'number')} across changes of the environment"] * bool(judged)
    where += [f"{many(tried, 'stretch', 'stretches')} of Runs without any"] * bool(tried)
    return f"Nothing moved by half a percent or more beyond its scatter, judged by {listed(where)}."


def _newest(history: History) -> list[str]:
    file, run = history.runs[-1]
    word = state(run)
    if word in ("valid", "suspect"):
        return []
    why = next((v.doubt for d in run.devices for v in d.values if v.validity == "invalid" and v.doubt), "")
    sound = any(v.validity != "invalid" for d in run.devices for v in d.values)
    then = "" if sound else " It says nothing of the machine."
    return [
        f"The newest Run ({file}) is {'partly ' * (sound and word == 'invalid')}{word}{f': {why}' * bool(why)}.{then}"
    ]


def _changed(history: History, moves: Sequence[Move]) -> list[str]:
    """A sentence for each change of the environment that moved something; the others in one."""
    groups: dict[tuple[Change, ...], list[Move]] = defaultdict(list)
    for move in moves:
        if move.kind == "change":
            groups[move.changes].append(move)
    telling = [(what, _largest(group), group) for what, group in groups.items() if _largest(group)]
    telling.sort(key=lambda each: -abs(each[1][0].ratio - 1))
    found = [_across(history, what, large, group) for what, large, group in telling[:_MOST]]
    if len(telling) > _MOST:
        found.append(f"{many(len(telling) - _MOST, 'other change')} of the environment also moved something.")
    quiet = [what for what, group in groups.items() if all(move.verdict == "still" for move in group)]
    if quiet:
        more = f" and {len(quiet) - 3} more" if len(quiet) > 3 else ""
        found.append(f"Moved nothing beyond the scatter: {'; '.join(changes(what) for what in quiet[:3])}{more}.")
    unsure = [
        what for what, group in groups.items() if not _largest(group) and any(m.verdict == "unknown" for m in group)
    ]
    if unsure:
        more = f" and {len(unsure) - 3} more" if len(unsure) > 3 else ""
        found.append(f"Too few valid Runs to judge: {'; '.join(changes(what) for what in unsure[:3])}{more}.")
    return found


def _largest(moves: Iterable[Move]) -> list[Move]:
    return sorted((m for m in moves if m.verdict == "moved"), key=lambda m: -abs(m.ratio - 1))


def _across(history: History, what: tuple[Change, ...], large: Sequence[Move], moves: Sequence[Move]) -> str:
    days = sorted({day(move.until) for move in moves})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    by_number: dict[tuple[str, str], list[Move]] = defaultdict(list)
    for move in large:
        by_number[move.series.key, move.series.regime].append(move)
    parts = [_group(history, group) for group in list(by_number.values())[:4]]
    if len(by_number) > 4:
        parts.append(f"{len(by_number) - 4} more")
    doubt = "; which of the changes did it, these Runs cannot tell" if len(what) > 1 else ""
    return f"With {changes(what)} ({when}), {listed(parts)}{doubt}."


def _group(history: History, group: Sequence[Move]) -> str:
    """One number on one device or on several: "DRAM (burst) moved by …"."""
    first = group[0]
    name = f"{metric(first.series.key)} ({first.series.regime})"
    who = {move.series.device for move in group}
    if len(who) == 1:
        on = f" of {first.series.device}" if len(history.devices) > 1 else ""
        return f"{name}{on} moved by {moved(first)}"
    middle = median(move.ratio for move in group)
    ends = sorted(move.ratio for move in group)
    return f"{name} of {len(who)} devices moved by {signed(middle)} ({signed(ends[0])} to {signed(ends[-1])})"


def _alone(history: History, moves: Sequence[Move]) -> list[str]:
    """Steps and drifts while nothing recorded changed."""
    groups: dict[tuple[str, str], list[Move]] = defaultdict(list)
    for move in _largest(move for move in moves if move.kind != "change"):
        groups[move.series.key, move.series.device].append(move)
    found = []
    for move, *others in list(groups.values())[:_MOST]:
        name = f"{metric(move.series.key)} ({move.series.regime})"
        on = f" of {move.series.device}" if len(history.devices) > 1 else ""
        if move.kind == "step":
            how = f"stepped by {moved(move)} between {moment(move.since)} and {moment(move.until)} UTC"
        else:
            how = f"drifted by {moved(move)} over {move.before} Runs, {day(move.since)} to {day(move.until)}"
        more = f" (and {len(others)} more: see what was judged)" if others else ""
        found.append(f"{name}{on} {how}, while nothing recorded changed{more}.")
    if len(groups) > _MOST:
        found.append(f"{len(groups) - _MOST} more numbers moved without a recorded cause: see what was judged.")
    return found


def _own(moves: Sequence[Move]) -> list[Move]:
    """Without ridges whose roofs moved as well: theirs says no more."""
    roofs = {(m.series.device, m.kind, m.changes) for m in moves if m.verdict == "moved" and not _is_ridge(m)}
    return [m for m in moves if not (_is_ridge(m) and (m.series.device, m.kind, m.changes) in roofs)]


def _is_ridge(move: Move) -> bool:
    return move.series.key.startswith("ridge ")


def _astray(history: History) -> list[str]:
    """Newest values outside their segment's band."""
    lost = [each for each in history.series if each.astray is not None]
    lost.sort(key=lambda each: -abs(each.astray))
    return [
        f"The newest {metric(each.key)} ({each.regime}) of {each.device}, {text(each.key, each.newest.value.value)},"
        f" lies {units.percent(abs(each.astray), 2)} {'below' if each.astray < 0 else 'above'} the median of its"
        " segment, outside the band: measure again before believing it."
        for each in lost[:3]
    ]


def _doubts(history: History) -> list[str]:
    """Runs and files that count less than others, or not at all."""
    words = Counter(state(run) for _, run in history.runs)
    values = Counter(point.value.validity for each in history.series for point in each.points)
    found = []
    if values["suspect"] or values["invalid"]:
        found.append(
            f"{values['suspect']} of {many(values.total(), 'value')} are suspect (drawn open) and {values['invalid']}"
            " invalid (crossed, joined to nothing); medians, bands and moves rest on the valid ones alone."
        )
    if words["incomplete"]:
        found.append(f"{many(words['incomplete'], 'Run is', 'Runs are')} incomplete: what is missing was not measured.")
    if words["empty"]:
        found.append(f"{many(words['empty'], 'Run has', 'Runs have')} no headline number at all.")
    broken = {metric(e.key): None for e in history.series if any(not s.joined for s in e.segments[1:])}
    if broken:
        found.append(
            f"{listed(list(broken)[:_MOST])}: a probe measures otherwise than in earlier Runs, so the two sides are not"
            " compared."
        )
    redacted = sum(run.redacted for _, run in history.runs)
    if redacted:
        found.append(
            f"{many(redacted, 'Run is', 'Runs are')} redacted: which device they measured cannot be known, so their"
            " points are neither joined nor judged."
        )
    if history.left_out:
        found.append(f"{many(len(history.left_out), 'file is', 'files are')} left out, for reasons in the table below.")
    return found


def paragraph(history: History, lines: Sequence[Series]) -> str:
    """One number in a paragraph: where it stands, then what moved it."""
    found = [_stands(history, lines)]
    mine = {id(each) for each in lines}
    moves = [move for move in history.moves if id(move.series) in mine]
    found += [*_changed(history, moves), *_alone(history, moves)]
    if not moves and any(s.n >= SEARCHED for each in lines if each.known for s in each.segments):
        found.append("It did not move beyond its scatter.")
    unjoined = len({s.points[0].at for each in lines for s in each.segments[1:] if not s.joined})
    if unjoined:
        found.append(
            f"{many(unjoined, 'break', 'breaks')} where a probe measures otherwise than before: the two sides are not"
            " compared."
        )
    return " ".join(found)


def _stands(history: History, lines: Sequence[Series]) -> str:
    parts = []
    for regime in dict.fromkeys(each.regime for each in lines):
        last = [(each, each.segments[-1]) for each in lines if each.regime == regime and each.segments[-1].n]
        if not last:
            parts.append(f"{regime}: no valid value in the newest segment")
        elif len(last) == 1:
            each, segment = last[0]
            band = f" ±{units.percent(segment.deviation, 2)}" if segment.deviation is not None else ""
            since = f"over {many(segment.n, 'valid Run')} since {day(segment.points[0].at)}"
            parts.append(f"{regime} {text(each.key, segment.median)}{band} {since}")
        else:
            middles = sorted(segment.median for _, segment in last)
            span = units.between(middles[0], middles[-1], lambda v: text(lines[0].key, v))
            parts.append(f"{regime} {text(lines[0].key, median(middles))}, the median of {len(last)} lines ({span})")
    return f"Newest segment: {'; '.join(parts)}."


def label(lines: Sequence[Series]) -> str:
    """A figure's text alternative."""
    key = lines[0].key
    parts = []
    for each in lines[:8]:
        points = each.points
        medians = [text(key, segment.median) for segment in each.segments if segment.median][-4:]
        parts.append(
            f"{each.device}: {many(len(points), 'Run')} from {day(points[0].at)} to {day(points[-1].at)},"
            f" newest {text(key, points[-1].value.value)} ({points[-1].value.validity}), medians of its newest segments"
            f" {', then '.join(medians) or 'none'}"
        )
    if len(lines) > 8:
        parts.append(f"and {len(lines) - 8} more lines")
    return f"{metric(key)}, {lines[0].regime}, over time. {'; '.join(parts)}."


def hover(point: Point, device: str) -> str:
    """One Run's value as plain text lines."""
    value = point.value
    lines = [f"{device}, {moment(point.at)} UTC", text(value.key, value.value)]
    if value.n > 1:
        lines[-1] += f", {spread(value.estimate, lambda v: text(value.key, v))}, n {value.n}"
    doubt = value.doubt if len(value.doubt) < 160 else f"{value.doubt[:159]}…"
    lines.append(f"{value.validity}{f': {doubt}' if doubt else ''}")
    known = [f"{name} {given}" for name, given in list(point.device.factors.items())[:3]]
    lines += [", ".join(known)] if known else []
    return "\n".join([*lines, point.file])
