"""Which probes a name stands for."""

import pytest

from bench.analysis.serving.efficiency_curves import PROBES
from bench.measure.probes import GROUPS, UnknownProbe, probe, probes, select
from bench.schema import ProbeText
from bench.work import MIXES


def _names(*asked: str) -> list[str]:
    return [probe.name for probe in select(list(asked))]


def test_for_no_name_all_run_but_those_that_must_be_asked_for():
    assert _names() == [name for name, probe in probes().items() if not probe.asked]
    assert "layer" in _names(), "a Run that nobody asked anything special of has a self-check"


def test_a_group_stands_for_its_probes_in_running_order_and_mixes_with_names():
    assert set(_names("serving")) == set(GROUPS["serving"])
    assert _names("latency", "serving", "layer") == [
        name for name in probes() if name == "latency" or name in GROUPS["serving"]
    ]


def test_the_group_has_every_probe_that_serving_reads_and_every_one_that_must_be_asked_for():
    assert set(PROBES) <= set(GROUPS["serving"])
    assert {name for name, probe in probes().items() if probe.asked} <= set(GROUPS["serving"])


@pytest.mark.parametrize("name", probes())
def test_a_probe_has_a_title_a_question_and_a_formula(name):
    text = probes()[name].text
    assert 0 < len(text.title) <= 30
    assert text.question.endswith("?")
    assert len(text.formula) > 40
    assert [probe.text.title for probe in probes().values()].count(text.title) == 1


def test_the_streams_formula_has_the_words_and_flops_that_are_counted():
    counted = [
        f"{mix} {words}" + (f" and {flops} flop{'s' * (flops > 1)}" if flops else "")
        for mix, (words, flops) in MIXES.items()
    ]
    assert ", ".join(counted) in probes()["bandwidth"].text.formula


def test_a_probe_without_texts_says_what_it_can():
    @probe(version=1)
    def plain(info, budget):
        """What its docstring says.

        More of it.
        """

    assert plain.text == ProbeText("plain", "What its docstring says.", "More of it.")


def test_no_group_has_the_name_of_a_probe():
    assert not set(GROUPS) & set(probes())


def test_a_name_that_is_nearly_a_group_is_told_of_it():
    with pytest.raises(UnknownProbe, match="did you mean serving"):
        select(["servin"])
