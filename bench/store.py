"""A Run as a file: JSON Lines, appended as measured, read back strictly.

First line the environment, then one line per check of the instrument and per measurement as soon as it exists, last an
end line. A file without its
end line is a Run that was cut short: readable, and marked incomplete.
"""

import hashlib
import math
import os
import secrets
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bench.schema import (
    FAIL,
    MAJOR,
    MINOR,
    NOT_AVAILABLE,
    PASS,
    SCHEMA,
    Check,
    DeviceInfo,
    End,
    Environment,
    Measurement,
    ProbeText,
    Run,
)
from bench.work import Work

# Heads, KV heads and head dimension of the layouts that attention was measured in; of MLA the width of its one key.
_LAYOUTS = {"mha": (32, 32, 128), "gqa": (32, 8, 128), "mqa": (32, 1, 128), "mla": (128, 1, 576)}
# The first minor whose cases of attention say that themselves.
_SAYS_HEADS = 4

_LINES = {"environment": Environment, "check": Check, "measurement": Measurement, "end": End}


class RunError(Exception):
    """A Run file cannot be read or written; the message says which, where and what to do."""


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def run_path(folder: Path, environment: Environment) -> Path:
    """results/<product>/<utc>-<commit|nogit>-<8 hex>.jsonl"""
    stamp = environment.started[:19].replace("-", "").replace(":", "")
    return (
        folder / environment.product / f"{stamp}Z-{environment.commit[:10] or 'nogit'}-{environment.run_id[:8]}.jsonl"
    )


def new_run_id() -> str:
    return secrets.token_hex(16)


class Writer:
    """Appends a Run line by line. The file is created exclusively: nothing is ever overwritten.

    Raises RunError where the folder or the file cannot be written (no permission, no space).
    """

    def __init__(self, path: Path, environment: Environment):
        self.path = path
        self._synced = time.monotonic()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("xb")
        except OSError as error:
            raise RunError(
                f"cannot create {path}: {error.strerror or error}. Choose another folder with --out."
            ) from error
        self._write("environment", environment, schema=SCHEMA, version=[MAJOR, MINOR])

    def append(self, measurement: Measurement) -> None:
        self._write("measurement", measurement)

    def check(self, check: Check) -> None:
        self._write("check", check)

    def end(self, end: End) -> None:
        self._write("end", end)
        os.fsync(self._file.fileno())
        self._file.close()

    def _write(self, kind: str, value: Any, **more: Any) -> None:
        try:
            self._file.write(_line(kind, value, **more).encode() + b"\n")
            self._file.flush()
            # a node that hangs loses what the kernel still holds; once a second is cheap
            if time.monotonic() - self._synced > 1:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise RunError(
                f"cannot write {self.path}: {error.strerror or error}. What was written before is kept."
            ) from error


def read(path: Path | str) -> Run:
    """The Run in a file. Raises RunError for a file that is missing, empty, foreign, newer or damaged."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise RunError(f"no such Run file: {path}") from None
    except IsADirectoryError:
        raise RunError(
            f"{path} is a folder: name a Run file in it (*.jsonl), or follow them all with `trend`"
        ) from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from None
    if not data.strip():
        raise RunError(f"{path} is empty: the Run that made it wrote nothing")
    return parse(data, str(path))


def parse(data: bytes, source: str) -> Run:
    """As read, from bytes; `source` names them in messages."""
    lines = data.split(b"\n")
    warnings: list[str] = []
    # every complete line ends in a newline, so what follows the last one was cut off in mid-line
    cut = lines.pop()
    environment, checks, measurements, end, minor = None, [], [], None, MINOR
    unknown: set[str] = set()
    for number, line in enumerate(lines, 1):
        where = f"{source}, line {number}"
        if not line.strip():
            continue
        record = _record(line, where)
        kind = record.pop("type", None)
        if environment is None:
            minor = _minor(kind, record, source)
        elif kind == "environment":
            raise RunError(f"{where}: a second environment; two Runs were joined in one file")
        if end is not None:
            raise RunError(f"{where}: a line after the end line; the file was changed after the Run")
        if kind not in _LINES:
            unknown.add(f"lines of type {kind!r}")
            continue
        value = _convert(record, _LINES[kind], where, unknown)
        if kind == "environment":
            environment = value
        elif kind == "measurement":
            _check_numbers(value, where)
            measurements.append(value if minor >= _SAYS_HEADS else _upgraded(value))
        elif kind == "check":
            if value.state not in (PASS, FAIL, NOT_AVAILABLE):
                raise RunError(f"{where}: unknown state {value.state!r} of a check")
            checks.append(value)
        else:
            end = value
    if environment is None:
        raise RunError(f"{source} is not a ridgepoint Run, or its first line is cut off")
    if cut.strip():
        warnings.append("the last line is cut off in the middle and was left out")
    if end is None:
        warnings.append("no end line: the Run was cut short and is incomplete")
    if unknown:
        warnings.append(f"written by a newer minor version; ignored: {', '.join(sorted(unknown))}")
    return Run(environment, tuple(measurements), end, tuple(warnings), source, tuple(checks))


def _record(line: bytes, where: str) -> dict:
    try:
        record = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if where.endswith("line 1"):
            raise RunError(f"{where}: not a ridgepoint Run, which is JSON Lines and ends in .jsonl") from None
        raise RunError(
            f"{where}: damaged ({error}); what is before it is sound: cut the file there to read that"
        ) from None
    if not isinstance(record, dict):
        raise RunError(f"{where}: not a ridgepoint Run (expected an object, found {type(record).__name__})")
    return record


def _minor(kind: Any, record: dict, source: str) -> int:
    """The minor version that a header says. Raises RunError where it is no header, or of another major."""
    version = record.pop("version", None)
    if kind != "environment" or record.pop("schema", None) != SCHEMA:
        raise RunError(f"{source} is not a ridgepoint Run: its first line does not say schema {SCHEMA!r}")
    if not (isinstance(version, list) and len(version) == 2 and all(isinstance(v, int) for v in version)):
        raise RunError(f"{source}: the schema version is missing or malformed")
    if version[0] != MAJOR:
        raise RunError(
            f"{source} has schema {version[0]}.{version[1]}; this version reads {MAJOR}.x. "
            + ("Upgrade ridgepoint to read it." if version[0] > MAJOR else "It is too old to be read.")
        )
    return version[1]


def _upgraded(value: Measurement) -> Measurement:
    """A measurement of an older minor as it would be written today, so that its key is the key of a new one."""
    unsaid = unsaid_params(value.probe, value.params)
    return replace(value, params={**value.params, **unsaid}) if unsaid else value


def unsaid_params(probe: str, params: Mapping[str, Any]) -> dict[str, int]:
    """What cases of attention left unsaid before 1.4, in any version of their probe; it stands last in new ones."""
    if probe not in ("attention", "decode") or "heads" in params:
        return {}
    layout = "gqa" if probe == "decode" and params.get("part") == "prefill attention" else params.get("layout")
    shape = _LAYOUTS.get(layout) if isinstance(layout, str) else None
    return dict(zip(("heads", "kv_heads", "head_dim"), shape, strict=True)) if shape else {}


def _convert(record: dict, kind: type, where: str, unknown: set[str]) -> Any:
    try:
        value = msgspec.convert(record, kind)
    except msgspec.ValidationError as error:
        raise RunError(f"{where}: {error}") from None
    _note_unknown(record, kind, unknown)
    return value


def _note_unknown(record: dict, kind: type, unknown: set[str]) -> None:
    known = {field.name for field in fields(kind)}
    unknown.update(f"{kind.__name__}.{name}" for name in record.keys() - known)
    if kind is Measurement and isinstance(record.get("work"), dict):
        _note_unknown(record["work"], Work, unknown)
    if kind is Environment:
        for device in record.get("devices", ()):
            _note_unknown(device, DeviceInfo, unknown)
        for text in record.get("probes", {}).values():
            _note_unknown(text, ProbeText, unknown)


def _check_numbers(m: Measurement, where: str) -> None:
    if any(not (math.isfinite(s) and s > 0) for s in m.seconds):
        raise RunError(f"{where}: {m.probe} has a time that is not a positive number")
    if any(not (math.isfinite(v) and v >= 0) for v in (m.work.flops, m.work.bytes)):
        raise RunError(f"{where}: {m.probe} has a work that is negative or not a number")
    if m.validity not in ("valid", "suspect", "invalid"):
        raise RunError(f"{where}: unknown validity {m.validity!r}")
    if m.launches < 0 or m.repetition < 0:
        raise RunError(f"{where}: {m.probe} has a negative count")


def replaced(path: Path, content: bytes) -> None:
    """Writes a file that no reader ever sees half of, over what was there. Raises OSError."""
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


def whole_file(content: bytes, path: Path | str, what: str = "report") -> Path:
    """The path of a file that holds all of these bytes, or what it held before. Raises RunError where it cannot."""
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()
    if path.exists() and not path.is_file() and not path.is_dir():
        raise RunError(f"{path} is no ordinary file: a {what} would take its place. Choose another path.")
    if path.is_file() and _is_run(path):
        raise RunError(f"{path} is a Run: a {what} would take its place. Choose another path with --out.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replaced(path, content)
    except OSError as error:
        raise RunError(
            f"cannot write the {what} {path}: {error.strerror or error}. Choose another path with --out."
        ) from error
    return path


def _is_run(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b'"schema":"' + SCHEMA.encode() in file.read(200)
    except OSError:
        return False


def redacted(environment: Environment) -> Environment:
    """The environment without what identifies machine or owner: salted hashes for host name and UUIDs, no paths."""
    salt = secrets.token_bytes(16)

    def hashed(text: str) -> str:
        return f"redacted-{hashlib.sha256(salt + text.encode()).hexdigest()[:12]}" if text else ""

    def word(text: str) -> str:
        head, equals, tail = text.rpartition("=")
        return f"{head}{equals}<path>" if "/" in tail or "\\" in tail else text

    devices = tuple(replace(device, uuid=hashed(device.uuid)) for device in environment.devices)
    known = {device.uuid for device in environment.devices if device.uuid}
    command = tuple(word(text) for text in environment.command if text not in known)
    return replace(environment, host=hashed(environment.host), devices=devices, command=command, redacted=True)


def raw_lines(run: Run) -> Iterable[str]:
    """The Run as JSON lines again, for a report that carries its data."""
    yield _line("environment", run.environment, schema=SCHEMA, version=[MAJOR, MINOR])
    for check in run.checks:
        yield _line("check", check)
    for measurement in run.measurements:
        yield _line("measurement", measurement)
    if run.end:
        yield _line("end", run.end)


def _line(kind: str, value: Any, **more: Any) -> str:
    record = {"type": kind, **more, **msgspec.to_builtins(value, enc_hook=str)}
    try:
        return msgspec.json.encode(record).decode()
    except UnicodeEncodeError:
        return msgspec.json.encode(_legible(record)).decode()


def _legible(value: Any) -> Any:
    """With backslashes for bytes that are no text, as a path or an argument may have on Linux."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_legible(key): _legible(each) for key, each in value.items()}
    return [_legible(each) for each in value] if isinstance(value, (list, tuple)) else value
