"""GPU health in words: the verdict, a sentence per reason with what to do next, and the matrix of all devices."""

from collections.abc import Sequence
from typing import Any

from bench import units
from bench.analysis import health_reasons as why
from bench.analysis import names
from bench.analysis.health import NOT_JUDGED, PASS, VITALS, vitals
from bench.analysis.health_reasons import FAIL, Reason
from bench.report.document import Column, Finding, Table, Verdict, has, table
from bench.report.phrases import listed, many, plain, sentence, signed, texts
from bench.report.sections import RunView
from bench.schema import SUSTAINED
from bench.work import RoofKey

TITLE = "GPU health"
# Reasons on the first screen; so many devices with one fault are told of together, each by its row in the matrix.
MOST_REASONS, TOGETHER = 4, 3
_FAMILIES = {"dram": "memory", "h2d": "host", "d2h": "host", "duplex": "host", "link": "link"}
_COMPARED = (why.SIBLINGS, why.BASELINE, why.SPREAD)


def verdict(view: RunView) -> Verdict:
    """GPU health in a line: the gravest reason, or what it was judged by."""
    node = view.health
    what = TITLE if any(each.info.sms for each in node.devices) else "Device health"
    if node.status in (NOT_JUDGED, PASS):
        return Verdict(what, node.status, node.status, (_unjudged if node.status == NOT_JUDGED else _judged)(view))
    bad = [each.info.id for each in node.devices if each.status == node.status]
    bad += [each.device for each in node.absent if each.status == node.status]
    which = listed([_name(each, view) for each in bad], 3) if view.several or node.absent else ""
    return Verdict(what, node.status, node.status, which or sentence(_briefly(_led(node.grouped[0], view)[0])))


def _unjudged(view: RunView) -> str:
    """Why nothing could be judged."""
    if any(each.references for each in view.health.devices):
        return "the measurements are not usable"
    if not any(each.roofs or each.cases for each in view.health.devices):
        return "nothing was measured"
    # assumed peaks judge nothing
    known = any(fit.info.sku for fit in view.fits)
    lacks = "no DRAM or GEMM roof was measured that could be compared with the datasheet"
    return f"{lacks if known else 'no datasheet'}, no sibling and no baseline to judge by"


def _judged(view: RunView) -> str:
    """ "nothing is slow: DRAM and GEMM by its datasheet, every shared roof by its siblings"."""
    by = {each for device in view.health.devices for each in device.references}
    claimed = [each.ours for fit in view.fits for each in why.claims(fit)] if why.DATASHEET in by else []
    kinds = ["DRAM"] * any(roof.key == "dram" for roof in claimed)
    kinds += ["GEMM"] * any(roof.is_compute and roof.method == "library" for roof in claimed)
    said = [f"{listed(kinds)} by its datasheet"] if kinds else []
    others = [each for each in (why.SIBLINGS, why.BASELINE) if each in by]
    said += [f"every shared roof by its {listed(others)}"] if others else []
    return f"nothing is slow: {', '.join(said)}"


def _name(device: str, view: RunView) -> str:
    """One that never opened beside a single other keeps its whole name."""
    return names.device(device) if view.several else plain(device)


def reasons(view: RunView) -> list[Finding]:
    """For the first screen: the gravest, and how many more stand in the section."""
    found = every_reason(view)
    more = len(found) - MOST_REASONS
    return [*found[:MOST_REASONS], *([Finding(f"{many(more, 'more reason')} under {TITLE}.")] if more > 0 else [])]


def every_reason(view: RunView) -> list[Finding]:
    """A sentence per device and cause, or for all devices of which the same is to be said and done; gravest first."""
    alike: dict[tuple[str, ...], list[tuple[Reason, Sequence[Reason]]]] = {}
    for lead, others in (_led(group, view) for group in view.health.grouped):
        said = lead.status, lead.cause, lead.key, lead.detail, _next(lead, view)
        alike.setdefault(said, []).append((lead, others))
    found = []
    for each in alike.values():
        if len(each) < TOGETHER:
            found += [_finding(lead, others, view) for lead, others in each]
            continue
        rest = len(view.fits) + len(view.health.absent) - len(each)
        who = listed([_name(lead.device, view) for lead, _ in each], 8) if rest else f"All {len(each)} GPUs"
        worst = min(each, key=lambda one: (one[0].weight, -(one[0].value or 0)))
        who += f": at worst ({_name(worst[0].device, view)}) " if len({_what(*one) for one in each}) > 1 else ": "
        found.append(_finding(*worst, view, who))
    return found


def _led(group: Sequence[Reason], view: RunView) -> tuple[Reason, Sequence[Reason]]:
    """The reason that speaks for a group of one device and cause, its headline roof's if there is one, and the rest."""
    headlines = {"dram", *(fit.info.headline for fit in view.fits)}
    lead = next((each for each in group if each.key in headlines), group[0])
    return lead, [each for each in group if each is not lead]


def _finding(reason: Reason, others: Sequence[Reason], view: RunView, who: str = "") -> Finding:
    absent = all(fit.info.id != reason.device for fit in view.fits)
    who = who or (f"{_name(reason.device, view)}: " if view.several or absent else "")
    text = sentence(f"{who}{_what(reason, others)}")
    return Finding(who[:1] + text[1:] if who else text, reason.status, _next(reason, view))


def _next(reason: Reason, view: RunView) -> str:
    """What to do about it: after its cause, or, of a slow roof, after what else is known of the device."""
    words = texts("health")
    causes = words["causes"]
    if reason.cause == why.NOT_MEASURABLE:
        usual = "see why in its section; repeat on an idle GPU" if reason.key else causes[reason.cause][1]
        steps = words["unmeasurable"].items()
        return next((step for begin, step in steps if plain(reason.detail).startswith(begin)), usual)
    if reason.cause in causes:
        return causes[reason.cause][1]
    fit = next((fit for fit in view.fits if fit.info.id == reason.device), view.fit)
    family = _FAMILIES.get(reason.key, "compute") if fit.info.sms else "cpu"
    held = view.health.held(reason, driven=family == "compute") if family in ("memory", "compute") else None
    if held:
        said, step = causes[held.cause]
        return f"Likely cause: {said.format(plain(held.detail))}. {sentence(step)}"
    slow = fit.roofs.get(reason.key) or fit.lasting(reason.key)
    probe = slow.winner.probe if slow else "peak" if RoofKey(reason.key).is_compute else "bandwidth"
    chosen = names.selector(reason.device)
    chosen = "auto" if family == "link" and chosen.startswith("cuda:") else chosen
    return words["slow"][family].format(f"python -m bench run --device {chosen} --probes {probe}")


def _what(reason: Reason, others: Sequence[Reason] = ()) -> str:
    """ "DRAM −9.6 % (4.33 against 4.80 TB/s, median of 7)", or what its cause says."""
    says = texts("health")["causes"].get(reason.cause, [""])[0]
    cause = says.format(plain(reason.detail), reason.value or 0, reason.expected or 0)
    if not (reason.key and has(reason.ratio)):
        text = plain(reason.detail) if reason.detail.startswith(why.NOTHING) else cause
        text = f"{names.roof(reason.key)} {text}" if reason.key else text
        if reason.share and reason.cause != why.NOT_MEASURABLE and "%" not in text:
            text += f" {units.percent(reason.share, 2)} of the time"
        return text + (f"; {many(len(others), 'other roof')} too" if others else "")
    compared, text = reason.cause in _COMPARED, _briefly(reason)
    if reason.cause == why.SPREAD:
        return f"{text} against the faster devices: two groups of devices differ"
    rates = units.between(reason.value, reason.expected, lambda v: units.rate_text(v, reason.key)).replace("–", "/", 1)
    value, _, expected = rates.partition("/")
    if compared:
        source = "the baseline" if reason.cause == why.BASELINE else names.others(reason.n)
        text += f" ({value} against {expected}, {source})"
    else:
        text += f" ({value} of {expected})" + (f": {cause}" if cause else "")
        text += f" {units.percent(reason.share, 2)} of the time" if has(reason.share) and "%" not in cause else ""
    if ratios := [each.ratio for each in others if has(each.ratio)]:
        span = sorted({signed(ratio) if compared else units.percent(ratio, 2) for ratio in (min(ratios), max(ratios))})
        text += f"; {many(len(others), 'other roof')} {' to '.join(span)}"
    return text


def _briefly(reason: Reason) -> str:
    """ "DRAM −9.6 %", "BF16 GEMM at 85 % of datasheet", or what its cause says."""
    if not (reason.key and has(reason.ratio)):
        return _what(reason)
    lasting = ", sustained," if reason.detail.startswith(SUSTAINED) else ""
    share = signed(reason.ratio) if reason.cause in _COMPARED else f"at {units.percent(reason.ratio)} of datasheet"
    return f"{names.roof(reason.key)}{lasting} {share}"


def matrix(view: RunView) -> Table:
    """A row per GPU: every headline roof as percent of its siblings' median, and heat, power and memory errors."""
    ratios = {(row.device, row.key): row.ratio for row in view.siblings.itertuples() if not row.regime}
    keys = [key for key in view.headlines if any((fit.info.id, key) in ratios for fit in view.fits)]
    rows = []
    for each, seen in zip(view.health.devices, view.telemetry, strict=True):
        row: dict[str, Any] = {"device": each.info.id, "verdict": each.status} | vitals(each, seen)
        for key in keys:
            row |= {key: ratios.get((each.info.id, key)), f"{key} regime": ""}
            usual = PASS if row[key] else "" if each.roofs else FAIL
            row[f"{key} mark"] = each.by_roof[key].status if key in each.by_roof else usual
        for reason in each.reasons:
            if reason.cause == why.SIBLINGS and reason.key in keys and reason.detail == SUSTAINED:
                row |= {reason.key: reason.ratio, f"{reason.key} regime": " sustained"}
        # what no cell shows
        reasons = [each for each in each.reasons if each.cause != why.SIBLINGS or each.key not in keys]
        row["why"] = _briefly(reasons[0]) if reasons else ""
        rows.append(row)
    columns = [Column("GPU", "device", names.device)]
    for key in keys:
        name, marked = names.roof(key).replace(" vector", ""), {"by": f"{key} regime", "mark": f"{key} mark"}
        columns.append(Column(name, key, lambda ratio, regime: f"{100 * ratio:.0f}{regime}", **marked))
    columns += [Column(name, text=lambda status: "ok" if status == PASS else status, mark=name) for name in VITALS]
    columns += [Column("Health", "verdict", str.upper, mark="verdict"), Column("Why", "why")]
    return table("matrix", "Every GPU: percent of the median of the others", rows, *columns, folded=False)
