"""What a Run file says of itself beside its measurements, and who hears of it while it is made."""

import pytest

from bench import store
from bench.measure import supervisor
from bench.measure.budget import BUDGETS
from bench.measure.probes import probes, select
from bench.measure.record import NothingToRun, record
from bench.measure.supervisor import Failed, Measured, Opened
from bench.schema import Environment

QUICK = BUDGETS["quick"]


def test_a_run_has_the_texts_of_the_probes_that_it_ran(tmp_path):
    made = record(["sim:t4"], select(["launch", "latency"]), QUICK, 0, tmp_path, ("bench",))
    found = store.read(made.path).environment.probes
    assert found == {name: probes()[name].text for name in ("latency", "launch")}
    assert found["latency"].title == "Memory latency"
    assert found["launch"].question == "What does a launch cost before it does anything?"


def test_a_device_that_does_not_open_is_told_before_the_others_measure(tmp_path, monkeypatch):
    whole, lost = supervisor.run, Failed("cuda:1", "has fallen off the bus")

    def run(devices, *rest):
        events = whole(devices, *rest)
        yield next(events)
        yield lost
        yield from events

    monkeypatch.setattr(supervisor, "run", run)
    heard = []
    made = record(["sim:t4"], select(["launch"]), QUICK, 0, tmp_path, ("bench",), listen=heard.append)
    assert [type(event) for event in heard[:4]] == [Opened, Failed, Environment, Measured]
    assert heard[1] is lost
    assert (made.status, made.failures) == ("failed", ("cuda:1: has fallen off the bus",))


def test_where_none_opens_there_is_one_line_and_no_file(tmp_path, monkeypatch):
    gone = (Failed("cuda:0", "gone"), Failed("cuda:1", "gone too"))
    monkeypatch.setattr(supervisor, "run", lambda *given: (event for event in gone))
    heard = []
    with pytest.raises(NothingToRun, match="cuda:0: gone; cuda:1: gone too"):
        record(["cuda:0", "cuda:1"], select(["launch"]), QUICK, 0, tmp_path, ("bench",), listen=heard.append)
    assert heard == []
    assert list(tmp_path.iterdir()) == []
