"""One measurement at a time: the second waits and learns for whom, and nobody holds a machine after their end."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.measure import exclusive
from bench.measure.exclusive import MachineBusy

REPOSITORY = Path(__file__).resolve().parents[2]
HOLDER = """
    import sys, time
    from pathlib import Path
    from bench.measure.exclusive import exclusive
    sys.argv = ["bench", "gate", "--device", "cuda:0"]
    with exclusive(5, path=Path({path!r})):
        print("has it", flush=True)
        sys.stdin.readline()
"""


class Clock:
    """Time that passes for who sleeps and for nobody else. after: seconds -> what happens once they have passed."""

    strftime = staticmethod(time.strftime)

    def __init__(self):
        self.seconds = 0.0
        self.after: dict[float, Callable[[], None]] = {}

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        for due in [due for due in self.after if due <= self.seconds]:
            self.after.pop(due)()


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(exclusive, "time", made)
    return made


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "ridgepoint.lock"


@pytest.fixture
def holder(path):
    """Another process that has the machine until it reads a line."""
    source = textwrap.dedent(HOLDER).format(path=str(path))
    process = subprocess.Popen(
        [sys.executable, "-c", source], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "has it\n"
    yield process
    process.kill()
    process.communicate()


def free(path: Path) -> bool:
    try:
        with exclusive.exclusive(0, path=path):
            return True
    except MachineBusy:
        return False


def test_a_command_of_bytes_that_are_no_text_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bench", "all", "--out", os.fsdecode(b"results\xff")])
    path = tmp_path / "lock"
    with exclusive.exclusive(0, path=path):
        assert r"--out results\udcff" in path.read_text(encoding="utf-8")


def test_alone_is_at_once_and_leaves_the_machine(path, clock):
    with exclusive.exclusive(60, path=path):
        assert clock.seconds == 0
        assert not free(path)
    assert free(path)


def test_who_has_it_is_said_after_the_wait(path, holder, clock):
    heard = []
    with pytest.raises(MachineBusy) as error, exclusive.exclusive(60, heard.append, path):
        pytest.fail("two at once")
    assert clock.seconds == pytest.approx(60, abs=0.02)
    assert len(heard) == 1, "once, not at every look"
    for text in (heard[0], str(error.value)):
        assert f"pid {holder.pid}" in text
        assert "python -m bench gate --device cuda:0" in text
    assert "--wait" in str(error.value)
    assert "\n" not in str(error.value)


def test_without_patience_it_is_said_at_once(path, holder, clock):
    heard = []
    with pytest.raises(MachineBusy), exclusive.exclusive(0, heard.append, path):
        pytest.fail("two at once")
    assert clock.seconds == 0
    assert heard == []


def test_the_second_waits_and_goes_on(path, holder, clock):
    clock.after[10.0] = lambda: holder.communicate("\n")
    heard = []
    with exclusive.exclusive(30, heard.append, path):
        assert 10 <= clock.seconds < 11
        assert f"pid {os.getpid()}" in path.read_text()
        assert str(holder.pid) not in path.read_text()
    assert len(heard) == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_holder_holds_nothing(path, holder, how):
    assert not free(path)
    holder.send_signal(how)
    holder.wait(10)
    assert free(path)


def test_an_error_within_lets_go(path):
    with pytest.raises(KeyError), exclusive.exclusive(1, path=path):
        raise KeyError
    assert free(path)


def test_a_longer_name_of_before_leaves_nothing_behind(path):
    path.write_text("x" * 5000)
    with exclusive.exclusive(0, path=path):
        assert path.read_text().startswith("pid ")
        assert "x" * 50 not in path.read_text()


def test_a_file_of_another_user_is_locked_though_not_written(path, monkeypatch):
    path.write_text("pid 1, since 00:00:00: python -m bench all")
    real = os.open

    def refused(name, flags, *more, **rest):
        if Path(name) == path and flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise PermissionError(errno.EACCES, "no")
        return real(name, flags, *more, **rest)

    monkeypatch.setattr(exclusive.os, "open", refused)
    with exclusive.exclusive(0, path=path):
        assert not free(path)
    assert free(path)
    assert path.read_text().startswith("pid 1")


def test_a_link_in_its_place_is_not_followed(path, tmp_path):
    """Anybody may write to /tmp: what they point at must not be emptied."""
    target = tmp_path / "precious"
    target.write_text("mine")
    path.symlink_to(target)
    with exclusive.exclusive(0, path=path):
        pass
    assert target.read_text() == "mine"
    path.unlink()
    path.symlink_to(tmp_path / "new")
    with exclusive.exclusive(0, path=path):
        pass
    assert not (tmp_path / "new").exists()


def test_a_folder_that_takes_no_file_is_no_reason_not_to_measure(tmp_path):
    with exclusive.exclusive(0, path=tmp_path / "none" / "lock"):
        assert not (tmp_path / "none").exists()


def test_a_file_system_without_locks_is_no_reason_not_to_measure(path, monkeypatch):
    """Nobody has the machine, and waiting for them would last for ever."""

    def without(handle, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(exclusive.fcntl, "flock", without)
    with exclusive.exclusive(0, path=path):
        pass


def test_a_system_without_locks_is_no_reason_not_to_measure(path, monkeypatch):
    """As Windows, which has no fcntl."""
    monkeypatch.setattr(exclusive, "fcntl", None)
    with exclusive.exclusive(0, path=path), exclusive.exclusive(0, path=path):
        pass
    assert not path.exists()


def test_a_holder_without_a_name_is_said(path):
    path.write_text("")
    with exclusive.exclusive(0, path=path):
        path.write_text("")
        with pytest.raises(MachineBusy, match="left no name"), exclusive.exclusive(0, path=path):
            pytest.fail("two at once")


def test_everybody_looks_at_one_place():
    assert exclusive.PATH.name == "ridgepoint.lock"
    assert exclusive.PATH.is_absolute()
