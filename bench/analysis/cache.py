"""What a trend or a gate needs of each Run, remembered beside the Runs, so that only new files are read and fitted.

An index in FOLDER/.cache for each of the two remembers (name, size, mtime) -> hash, and hash -> entry. It is never
trusted further than its checksum and versions reach: a damaged, foreign or older one is made anew, and one that cannot
be written only costs time. What would make it wrong: a file that changes within the clock's tick of its last change
(files younger than two seconds are not remembered), or one that is exchanged for another of the same name, size and
time.
"""

import hashlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from bench.schema import MAJOR, MINOR, Run
from bench.store import RunError, parse, replaced

_FEW, _SAVE_EVERY = 8, 30.0
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Kind(Generic[Entry]):
    """What is remembered of each Run: how it is made, as which type, in which file; version is of what it says."""

    name: str
    version: tuple[int, ...]
    type: type
    made: Callable[[Run], Entry]

    @property
    def made_by(self) -> list[Any]:
        return [f"ridgepoint.{self.name}", *self.version, MAJOR, MINOR]


@dataclass(frozen=True)
class Reading(Generic[Entry]):
    """What a folder holds: entries by file name, why other files have none, and what was odd about the cache.

    fitted: how many files had to be fitted anew.
    """

    entries: Mapping[str, Entry]
    damaged: Mapping[str, str]
    warnings: tuple[str, ...]
    fitted: int


@dataclass(frozen=True)
class _Known:
    size: int
    mtime_ns: int
    hash: str


@dataclass(frozen=True)
class _Index(Generic[Entry]):
    """files: by name. entries and damaged: by hash."""

    files: dict[str, _Known] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)


def readings(
    folder: Path, kind: Kind[Entry], listen: Callable[[int, int], None] = lambda done, total: None
) -> Reading[Entry]:
    """Every Run file of a folder as an entry; listen(done, total) hears of those that must be fitted.

    Raises RunError where the folder cannot be listed.
    """
    store = folder / ".cache" / f"{kind.name}.json"
    index, warnings = _loaded(store, kind)
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
        for name, (found, entry, reason, lasting) in _fitted(folder, list(first.values()), kind):
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
                _save(store, _kept(index, files, hashes), kind)
                saved = time.monotonic()
    finally:
        kept = _kept(index, files, hashes)
        if (kept.files, len(kept.entries), len(kept.damaged)) != before:
            warnings += _save(store, kept, kind)
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


def _loaded(path: Path, kind: Kind) -> tuple[_Index, list[str]]:
    try:
        head, _, body = path.read_bytes().partition(b"\n")
        made_by, checksum = msgspec.json.decode(head, type=tuple[list, str])
        if made_by == kind.made_by and checksum == hashlib.sha256(body).hexdigest():
            return msgspec.json.decode(body, type=_Index[kind.type]), []
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        pass
    return _Index(), []


def _save(path: Path, index: _Index, kind: Kind) -> list[str]:
    """Written, or why not."""
    body = msgspec.json.encode(index, enc_hook=str)
    head = msgspec.json.encode([kind.made_by, hashlib.sha256(body).hexdigest()])
    try:
        path.parent.mkdir(exist_ok=True)
        replaced(path, head + b"\n" + body)
    except OSError as error:
        reason = error.strerror or error
        return [f"cannot write the cache {path}: {reason}; next time takes as long as this"]
    return []


# --- from a file to an entry

# hash, entry or None, why there is none, whether that will be so again
_Outcome = tuple[str, Any, str, bool]


def _fitted(folder: Path, names: Sequence[str], kind: Kind) -> Iterator[tuple[str, _Outcome]]:
    """Each file read and fitted; many of them by as many processes as there are cores."""
    if len(names) < _FEW or _cores() == 1:
        for name in names:
            yield name, _outcome(kind.made, folder / name)
        return
    # spawned like the lab's: a fork would copy whatever threads the caller's libraries have started
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(_cores(), len(names)), context)
    try:
        yield from zip(
            names, pool.map(partial(_outcome, kind.made), [folder / name for name in names], chunksize=4), strict=True
        )
    except BrokenProcessPool:
        raise RunError(
            "a process that was reading Runs died: for want of memory (what was read is kept: try again), or because a"
            " script that calls this lacks its `if __name__ == '__main__':`"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _outcome(made: Callable[[Run], Any], path: Path) -> _Outcome:
    try:
        data = path.read_bytes()
    except OSError as error:
        return "", None, f"it cannot be read: {error.strerror or error}", False
    found = hashlib.sha256(data).hexdigest()
    try:
        return found, made(parse(data, "the file")), "", True
    except RunError as error:
        return found, None, str(error), True
    except Exception as error:  # one odd Run must not cost the history of ten thousand
        return found, None, f"it cannot be fitted ({type(error).__name__}: {error}); please tell us", False
