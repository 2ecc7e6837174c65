"""What a history needs of each Run, remembered beside the Runs, so that only new files are read and fitted.

An index in FOLDER/.cache remembers (name, size, mtime) -> hash, and hash -> entry. It is never trusted further than
its checksum and versions reach: a damaged, foreign or older one is made anew, and one that cannot be written only costs
time. What would make it wrong: a file that changes within the clock's tick of its last change (files younger than two
seconds are not remembered), or one that is exchanged for another of the same name, size and time.
"""

import hashlib
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from bench.analysis import fit as fits
from bench.roofline import Roof
from bench.schema import MAJOR, MINOR, SUSTAINED, Measurement, Run
from bench.stats import Estimate
from bench.store import RunError, parse

# Raised when an entry says something else of the same fit.
VERSION = 1
_MADE_BY = ["ridgepoint.history", VERSION, fits.VERSION, MAJOR, MINOR]
# The narrowest dtype's GEMM is the fastest roof; by name, because of two close ones noise would choose.
_NARROWEST = ("float4", "float8_e4m3")
_FEW, _SAVE_EVERY = 8, 30.0


@dataclass(frozen=True)
class Value:
    """One headline number of one device in one Run, in SI base units.

    key: of a roof, or "ridge KEY" over DRAM. basis: probes and versions that it rests on; only equal ones are joined.
    An invalid value has n = 0 and no interval: it says what was seen, and nothing about the machine.
    """

    key: str
    regime: str
    value: float
    low: float
    high: float
    n: int
    validity: str
    basis: tuple[str, ...]
    doubt: str = ""

    @property
    def estimate(self) -> Estimate:
        return Estimate(self.value, self.low, self.high, self.n)


@dataclass(frozen=True)
class DeviceEntry:
    """One device in one Run. factors: what of its environment may move its numbers, by name."""

    id: str
    name: str
    uuid: str
    factors: Mapping[str, str]
    values: tuple[Value, ...]


@dataclass(frozen=True)
class RunEntry:
    """One Run. at: its start, in seconds since 1970. status: as its end line says, or "cut short".

    counts: its measurements by validity, skips left out.
    """

    run_id: str
    started: str
    at: float
    host: str
    product: str
    budget: str
    status: str
    simulated: bool
    redacted: bool
    measurements: int
    counts: Mapping[str, int]
    warnings: tuple[str, ...]
    devices: tuple[DeviceEntry, ...]


@dataclass(frozen=True)
class Reading:
    """What a folder holds: entries by file name, why other files have none, and what was odd about the cache.

    fitted: how many files had to be fitted anew.
    """

    entries: Mapping[str, RunEntry]
    damaged: Mapping[str, str]
    warnings: tuple[str, ...]
    fitted: int


@dataclass(frozen=True)
class _Known:
    size: int
    mtime_ns: int
    hash: str


@dataclass(frozen=True)
class _Index:
    """files: by name. entries and damaged: by hash."""

    files: dict[str, _Known] = field(default_factory=dict)
    entries: dict[str, RunEntry] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)


def readings(folder: Path, listen: Callable[[int, int], None] = lambda done, total: None) -> Reading:
    """Every Run file of a folder as an entry; listen(done, total) hears of those that must be fitted.

    Raises RunError where the folder cannot be listed.
    """
    store = folder / ".cache" / "history.json"
    index, warnings = _loaded(store)
    before = (dict(index.files), len(index.entries), len(index.damaged))
    files, unreadable = _listed(folder)
    stale = [name for name, (size, mtime, _) in files.items() if _changed(index.files.get(name), size, mtime)]
    hashes = {name: known.hash for name, known in index.files.items() if name in files}
    with ThreadPoolExecutor(_cores()) as pool:
        for name, found in zip(stale, pool.map(partial(_hash, folder), stale), strict=True):
            hashes[name] = found
    unreadable |= {name: "it cannot be read" for name, found in hashes.items() if found is None}
    hashes = {name: found for name, found in hashes.items() if found}
    first = {found: name for name, found in hashes.items() if found not in index.entries and found not in index.damaged}
    fitted = 0
    try:
        saved = time.monotonic()
        for name, (found, entry, reason, lasting) in _fitted(folder, list(first.values())):
            fitted += 1
            # it may have grown, or gone, since it was hashed: the hash that counts is of what was read
            hashes[name] = found
            if entry:
                index.entries[found] = entry
            elif lasting:
                index.damaged[found] = reason
            else:
                del hashes[name]
                unreadable[name] = reason
            listen(fitted, len(first))
            if time.monotonic() - saved > _SAVE_EVERY:
                _save(store, _kept(index, files, hashes))
                saved = time.monotonic()
    finally:
        kept = _kept(index, files, hashes)
        if (kept.files, len(kept.entries), len(kept.damaged)) != before:
            warnings += _save(store, kept)
    named = {name: hashes[name] for name in files if name in hashes}
    return Reading(
        {name: index.entries[found] for name, found in named.items() if found in index.entries},
        unreadable | {name: index.damaged[found] for name, found in named.items() if found in index.damaged},
        tuple(warnings),
        fitted,
    )


def _listed(folder: Path) -> tuple[dict[str, tuple[int, int, bool]], dict[str, str]]:
    """(name -> size, mtime and whether it has come to rest, why others cannot be read)."""
    found, unreadable = {}, {}
    settled = time.time_ns() - 2_000_000_000
    try:
        with os.scandir(folder) as entries:
            for entry in sorted((e for e in entries if e.name.endswith(".jsonl")), key=lambda e: e.name):
                try:
                    about = entry.stat()
                    if entry.is_file():
                        found[entry.name] = about.st_size, about.st_mtime_ns, about.st_mtime_ns < settled
                except OSError as error:
                    unreadable[entry.name] = f"it cannot be read: {error.strerror or error}"
    except FileNotFoundError:
        raise RunError(f"no such folder: {folder}") from None
    except NotADirectoryError:
        raise RunError(f"{folder} is a file; a trend is made of a folder of Runs, results/PRODUCT") from None
    except OSError as error:
        raise RunError(f"cannot list {folder}: {error.strerror or error}") from None
    return found, unreadable


def _changed(known: _Known | None, size: int, mtime: int) -> bool:
    return known is None or (known.size, known.mtime_ns) != (size, mtime)


def _kept(index: _Index, files: Mapping[str, tuple[int, int, bool]], hashes: Mapping[str, str]) -> _Index:
    """The index without what no file stands behind any more."""
    known = {
        name: _Known(size, mtime, hashes[name])
        for name, (size, mtime, settled) in files.items()
        if settled and name in hashes
    }
    held = set(hashes.values())
    entries = {found: entry for found, entry in index.entries.items() if found in held}
    return _Index(known, entries, {found: reason for found, reason in index.damaged.items() if found in held})


def _hash(folder: Path, name: str) -> str | None:
    try:
        with (folder / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- the index as a file: a line that says who made it and the checksum of the next, and that line


def _loaded(path: Path) -> tuple[_Index, list[str]]:
    try:
        head, _, body = path.read_bytes().partition(b"\n")
        made_by, checksum = msgspec.json.decode(head, type=tuple[list, str])
        if made_by == _MADE_BY and checksum == hashlib.sha256(body).hexdigest():
            return msgspec.json.decode(body, type=_Index), []
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        pass
    return _Index(), []


def _save(path: Path, index: _Index) -> list[str]:
    """Written, or why not."""
    body = msgspec.json.encode(index)
    head = msgspec.json.encode([_MADE_BY, hashlib.sha256(body).hexdigest()])
    try:
        path.parent.mkdir(exist_ok=True)
        replaced(path, head + b"\n" + body)
    except OSError as error:
        reason = error.strerror or error
        return [f"cannot write the cache {path}: {reason}; next time takes as long as this"]
    return []


def replaced(path: Path, content: bytes) -> None:
    """Writes a file that no reader ever sees half of. Raises OSError."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # mkstemp makes it private; this is as readable as any file that its owner makes
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


# --- from a file to an entry

# hash, entry or None, why there is none, whether that will be so again
_Outcome = tuple[str, RunEntry | None, str, bool]


def _fitted(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, _Outcome]]:
    """Each file read and fitted; many of them by as many processes as there are cores."""
    if len(names) < _FEW or _cores() == 1:
        for name in names:
            yield name, _outcome(folder / name)
        return
    # spawned like the lab's: a fork would copy whatever threads the caller's libraries have started
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(_cores(), len(names)), context)
    try:
        yield from zip(names, pool.map(_outcome, [folder / name for name in names], chunksize=4), strict=True)
    except BrokenProcessPool:
        raise RunError(
            "a process that was reading Runs died: for want of memory (what was read is kept: try again), or because a"
            " script that calls this lacks its `if __name__ == '__main__':`"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _outcome(path: Path) -> _Outcome:
    try:
        data = path.read_bytes()
    except OSError as error:
        return "", None, f"it cannot be read: {error.strerror or error}", False
    found = hashlib.sha256(data).hexdigest()
    try:
        return found, entry(parse(data, "the file")), "", True
    except RunError as error:
        return found, None, str(error), True
    except Exception as error:  # one odd Run must not cost the history of ten thousand
        return found, None, f"it cannot be fitted ({type(error).__name__}: {error}); please tell us", False


def entry(run: Run) -> RunEntry:
    """What a history needs of a Run. Raises RunError for one that has no place in time."""
    about = run.environment
    try:
        started = datetime.fromisoformat(about.started)
        at = (started if started.tzinfo else started.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise RunError(f"it started at {about.started!r}, which is no time") from None
    done = [m.validity for m in run.measurements if not m.skip]
    return RunEntry(
        about.run_id,
        about.started,
        at,
        about.host,
        about.product,
        about.budget,
        run.end.status if run.end else "cut short",
        about.simulated,
        about.redacted,
        len(done),
        {word: done.count(word) for word in ("valid", "suspect", "invalid")},
        tuple(w for w in run.warnings if not w.startswith("no end line")),
        tuple(_device(run, fit) for fit in fits.fit(run)),
    )


def _device(run: Run, fit: fits.Fit) -> DeviceEntry:
    info, mine = fit.info, run.of(fit.info.id)
    values = []
    regimes = [(info.regime, fit.roofs, fit.headline), (SUSTAINED, {}, None)]
    if fit.sustained:
        regimes[1] = (SUSTAINED, fit.sustained.roofs, fit.sustained.headline)
    for regime, roofs, ridge in regimes:
        found = {}
        for key in _headlines(info):
            claims = [m for m in mine if m.saturates == key and (m.regime == SUSTAINED) == (regime == SUSTAINED)]
            if key in roofs:
                found[key] = _sound(roofs[key], regime, claims, run.complete)
            elif seen := _unsound(key, regime, claims):
                found[key] = seen
        if ridge:
            found["ridge"] = _ridge(ridge, found[ridge.compute], found[ridge.memory])
        values += found.values()
    return DeviceEntry(info.id, info.name, info.uuid, _factors(run, fit), tuple(values))


def _headlines(info) -> list[str]:
    narrow = next((f"tensor.{dtype}.library" for dtype in _NARROWEST if info.units.get(dtype) == "tensor"), "")
    return list(dict.fromkeys(filter(None, ["dram", info.headline, "vector.float32.loop", narrow, "link"])))


def _basis(claims: Sequence[Measurement]) -> tuple[str, ...]:
    return tuple(sorted({f"{m.probe} {m.version}" for m in claims}))


def _sound(fitted: fits.RoofFit, regime: str, claims: Sequence[Measurement], complete: bool) -> Value:
    roof: Roof = fitted.roof
    doubtful = fitted.winner.validity != "valid" or fitted.winner.lost or not complete
    doubts = [*filter(None, [roof.caution]), *([] if complete else ["the Run is incomplete"])]
    word = "suspect" if doubtful else "valid"
    return Value(roof.key, regime, roof.rate, roof.low, roof.high, roof.n, word, _basis(claims), "; ".join(doubts))


def _unsound(key: str, regime: str, claims: Sequence[Measurement]) -> Value | None:
    """What the invalid measurements of a roof showed, at best; None where nothing was timed."""
    seen = [m for m in claims if m.seconds and (m.work.flops if "." in key else m.work.bytes)]
    if not seen:
        return None
    rate, best = max(((m.work.flops if "." in key else m.work.bytes) / m.median, i) for i, m in enumerate(seen))
    doubt = "; ".join(seen[best].reasons) or "no valid measurement"
    return Value(key, regime, rate, rate, rate, 0, "invalid", _basis(claims), doubt) if math.isfinite(rate) else None


def _ridge(ridge: fits.Ridge, compute: Value, memory: Value) -> Value:
    each, parts = ridge.estimate, (compute, memory)
    word = "suspect" if any(part.validity != "valid" for part in parts) else "valid"
    doubt = "; ".join(dict.fromkeys(part.doubt for part in parts if part.doubt))
    basis = tuple(sorted({*compute.basis, *memory.basis}))
    return Value(f"ridge {ridge.compute}", compute.regime, each.value, each.low, each.high, each.n, word, basis, doubt)


def _factors(run: Run, fit: fits.Fit) -> dict[str, str]:
    """By name, in the order in which a reader would suspect them; what is not known is left out."""
    facts, libraries = fit.info.facts, run.environment.libraries
    limit = facts.get("power_limit_w", "")
    found = {
        "driver": facts.get("driver"),
        "power limit": f"{limit} W" if limit else None,
        "torch": libraries.get("torch"),
        "CuPy": libraries.get("cupy-cuda13x") or libraries.get("cupy-cuda12x"),
        "NVRTC": facts.get("nvrtc") or libraries.get("nvidia-cuda-nvrtc"),
        "cuBLAS": facts.get("cublas"),
        "compiler": facts.get("compiler"),
        "ECC": facts.get("ecc"),
        "MIG": facts.get("mig"),
        "suite": run.environment.suite,
    }
    return {name: text for name, text in found.items() if text}
