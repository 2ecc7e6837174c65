"""The Runs of a folder in order of time, copies once, each remembered so that only new files are read and fitted.

FOLDER/.cache/KIND.json holds (size, mtime, hash) of each file and hash -> entry. It is never trusted further than its
checksum and versions reach: a damaged, foreign or older one is made anew, and one that cannot be written only costs
time. What would make it wrong: a file that changes within the clock's tick of its last change (files younger than two
seconds are not remembered), or one that is exchanged for another of the same name, size and time.
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
from typing import Generic, NamedTuple

import msgspec

from bench.analysis.run_entry import DeviceEntry, EntryKind, RunEntry, Values, device_entry, moment, run_entry
from bench.schema import DeviceInfo, Run
from bench.store import RunError, parse, replaced

# Fewer files are read by this process alone. How often an unfinished reading is saved, in seconds.
_FEW, _SAVE_EVERY = 8, 30.0


@dataclass(frozen=True)
class RunIndex(Generic[Values]):
    """A folder's Runs by file, in order of time. left_out: file -> why. fitted: files that no cache knew."""

    runs: Mapping[str, RunEntry[Values]]
    left_out: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    fitted: int = 0

    def before(self, run: Run, info: DeviceInfo) -> list[tuple[RunEntry[Values], DeviceEntry[Values]]]:
        """A device's earlier complete Runs in the same environment. Raises RunError for a Run with no place in time."""
        about, at, this = run.environment, moment(run), device_entry(run, info, None)
        earlier = (entry for entry in self.runs.values() if entry.at < at and entry.run_id != about.run_id)
        return [
            (entry, device)
            for entry in earlier
            if entry.complete and entry.simulated == about.simulated
            for device in entry.devices
            if this.who and device.who == this.who and device.surroundings == this.surroundings
        ]


class _Content(NamedTuple):
    """What a file's bytes are: an entry, or why there is none; lasting: whether that will be so again."""

    hash: str
    entry: RunEntry | str
    lasting: bool


class _FileState(NamedTuple):
    """A file when it was hashed."""

    size: int
    mtime_ns: int
    hash: str = ""


@dataclass(frozen=True)
class _Cache(Generic[Values]):
    """files: by name. contents: hash -> entry, or why there is none."""

    files: dict[str, _FileState] = field(default_factory=dict)
    contents: dict[str, RunEntry[Values] | str] = field(default_factory=dict)

    def kept(self, settled: Mapping[str, _FileState], hashes: Mapping[str, str]) -> "_Cache[Values]":
        """Without what no file stands behind any more. settled: files that came to rest before they were hashed."""
        files = {name: state._replace(hash=hashes[name]) for name, state in settled.items() if name in hashes}
        held = set(hashes.values())
        return _Cache(files, {digest: content for digest, content in self.contents.items() if digest in held})


def run_index(
    folder: Path, kind: EntryKind[Values], listen: Callable[[int, int], None] = lambda done, total: None
) -> RunIndex[Values]:
    """Every Run file of a folder; listen(done, total) hears of those that must be fitted.

    Raises RunError where the folder cannot be listed.
    """
    path = folder / ".cache" / f"{kind.name}.json"
    cache, warnings = _loaded(path, kind), []
    before = cache.files, len(cache.contents)
    at_rest = time.time_ns() - 2_000_000_000
    states, unreadable = _listed(folder)
    settled = {name: state for name, state in states.items() if state.mtime_ns < at_rest}
    hashes = {n: known.hash for n, known in cache.files.items() if n in states and known[:2] == states[n][:2]}
    stale = [name for name in states if name not in hashes]
    with ThreadPoolExecutor(_cores()) as pool:
        hashes |= zip(stale, pool.map(partial(_hash, folder), stale), strict=True)
    # one file for each content that is new; what could not be hashed is tried once more, and says why
    new = {digest or name: name for name, digest in hashes.items() if digest not in cache.contents}
    fitted, saved = 0, time.monotonic()
    try:
        for name, content in _contents(folder, list(new.values()), kind):
            fitted += 1
            # it may have grown, or gone, since it was hashed: the hash that counts is of what was read
            hashes[name] = content.hash
            if content.lasting:
                cache.contents[content.hash] = content.entry
            else:
                del hashes[name]
                unreadable[name] = content.entry
            listen(fitted, len(new))
            if time.monotonic() - saved > _SAVE_EVERY:
                _save(path, cache.kept(settled, hashes), kind)
                saved = time.monotonic()
    finally:
        kept = cache.kept(settled, hashes)
        if (kept.files, len(kept.contents)) != before:
            warnings = _save(path, kept, kind)
    known = {name: cache.contents[hashes[name]] for name in states if hashes.get(name) in cache.contents}
    left_out = unreadable | {name: why for name, why in known.items() if isinstance(why, str)}
    entries = {name: entry for name, entry in known.items() if name not in left_out}
    left_out |= _copies(entries)
    runs = sorted(
        ((name, run) for name, run in entries.items() if name not in left_out), key=lambda each: (each[1].at, each[0])
    )
    return RunIndex(dict(runs), left_out, tuple(warnings), fitted)


def _copies(entries: Mapping[str, RunEntry]) -> dict[str, str]:
    """Copies of a Run count once, the longest one: file -> why it is left out."""
    longest: dict[str, str] = {}
    copies = {}
    for name, run in sorted(entries.items(), key=lambda each: -sum(each[1].counts.values())):
        if (other := longest.setdefault(run.run_id, name)) != name:
            copies[name] = f"it is a copy of {other}"
    return copies


def _listed(folder: Path) -> tuple[dict[str, _FileState], dict[str, str]]:
    """(name -> its state, why others cannot be read)."""
    states, unreadable = {}, {}
    try:
        with os.scandir(folder) as entries:
            for entry in sorted((e for e in entries if e.name.endswith(".jsonl")), key=lambda e: e.name):
                try:
                    about = entry.stat()
                    if entry.is_file():
                        states[entry.name] = _FileState(about.st_size, about.st_mtime_ns)
                except OSError as error:
                    unreadable[entry.name] = f"it cannot be read: {error.strerror or error}"
    except FileNotFoundError:
        raise RunError(f"no such folder: {folder}") from None
    except NotADirectoryError:
        raise RunError(f"{folder} is a file; a trend is made of a folder of Runs, results/PRODUCT") from None
    except OSError as error:
        raise RunError(f"cannot list {folder}: {error.strerror or error}") from None
    return states, unreadable


def _hash(folder: Path, name: str) -> str:
    try:
        with (folder / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# the cache as a file: a line that says who made it and the checksum of the next, and that line


def _loaded(path: Path, kind: EntryKind) -> _Cache:
    try:
        head, _, body = path.read_bytes().partition(b"\n")
        made_by, checksum = msgspec.json.decode(head, type=tuple[list, str])
        if made_by == kind.made_by and checksum == hashlib.sha256(body).hexdigest():
            return msgspec.json.decode(body, type=_Cache[kind.type])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        pass
    return _Cache()


def _save(path: Path, cache: _Cache, kind: EntryKind) -> list[str]:
    """Written, or why not."""
    body = msgspec.json.encode(cache, enc_hook=str)
    head = msgspec.json.encode([kind.made_by, hashlib.sha256(body).hexdigest()])
    try:
        path.parent.mkdir(exist_ok=True)
        replaced(path, head + b"\n" + body)
    except OSError as error:
        return [f"cannot write the cache {path}: {error.strerror or error}; next time takes as long as this"]
    return []


def _contents(folder: Path, names: Sequence[str], kind: EntryKind) -> Iterator[tuple[str, _Content]]:
    """Each file read and fitted; many of them by as many processes as there are cores."""
    paths = [folder / name for name in names]
    if len(names) < _FEW or _cores() == 1:
        yield from zip(names, map(partial(_content, kind), paths), strict=True)
        return
    # spawned like the lab's: a fork would copy whatever threads the caller's libraries have started
    pool = ProcessPoolExecutor(min(_cores(), len(names)), multiprocessing.get_context("spawn"))
    try:
        yield from zip(names, pool.map(partial(_content, kind), paths, chunksize=4), strict=True)
    except BrokenProcessPool:
        raise RunError(
            "a process that was reading Runs died: for want of memory (what was read is kept: try again), or because a"
            " script that calls this lacks its `if __name__ == '__main__':`"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _content(kind: EntryKind, path: Path) -> _Content:
    try:
        data = path.read_bytes()
    except OSError as error:
        return _Content("", f"it cannot be read: {error.strerror or error}", False)
    digest = hashlib.sha256(data).hexdigest()
    try:
        return _Content(digest, run_entry(parse(data, "the file"), kind), True)
    except RunError as error:
        return _Content(digest, str(error), True)
    except Exception as error:  # one odd Run must not cost the history of ten thousand
        return _Content(digest, f"it cannot be fitted ({type(error).__name__}: {error}); please tell us", False)
