"""What differs around several Runs, and how their ratios are laid out."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.run_comparison import comparisons
from bench.analysis.several_runs import beyond, bounds, conditions, edges, rows
from bench.work import Work
from tests.report.pairs import again, good, real
from tests.report.runs import by_hand, cpu, measured

# What differs around Runs: listed where it does, in the order in which it may explain a number.


def around(*runs):
    found = comparisons(runs)
    return conditions(runs, [found[0].ours, *(each.theirs for each in found)])


def values(*runs):
    return {each.what: each.values for each in around(*runs)}


def test_nothing_differs_around_a_run_beside_itself():
    assert around(real(), real()) == ()


def test_driver_clock_and_power_limit_are_conditions():
    def told(clock, **facts):
        seen = tuple(replace(m, clock_hz=(clock,) * 3) for m in real().measurements)
        return again(replace(real(), measurements=seen), devices=(cpu(facts=facts),))

    found = values(told(1.98e9, driver="580.1", power_limit_w="700"), told(1.6e9, driver="590.2", power_limit_w="600"))
    assert found["driver"] == ("580.1", "590.2")
    assert found["power limit w"] == ("700", "600")
    assert found["clock at the headline roof"] == ("1.98 GHz", "1.60 GHz")
    assert "clock at the headline roof" not in values(told(1.98e9), told(1.97e9))


def test_clocks_among_the_facts_are_told_as_clocks():
    def told(**facts):
        return again(real(), devices=(cpu(facts=facts),))

    found = values(told(boost_hz="1980000000", clock_hz="2.001e9"), told(boost_hz="1755000000", clock_hz="²"))
    assert found["boost"] == ("1.980 GHz", "1.755 GHz")
    # what is no number stays as it is
    assert found["clock"] == ("2.001e9", "²")
    assert "clock" not in values(told(clock_hz="2001000000"), told(clock_hz="1999000000"))


def test_what_only_one_states_is_a_condition_and_explains_nothing_by_itself():
    one = again(real(), libraries={"torch": "2.13"})
    (torch,) = (each for each in around(one, real()) if each.what == "torch")
    assert (torch.values, torch.stated, torch.may_explain) == (("2.13", ""), 1, False)
    other = again(real(), libraries={"torch": "3.0"})
    assert next(each for each in around(one, other) if each.what == "torch").may_explain


def test_what_names_a_run_explains_nothing():
    found = {each.what: each.may_explain for each in around(real(), again(good(), host="elsewhere"))}
    assert {what for what in ("kind", "devices", "host", "probes") if found.get(what)} == set()
    assert {"kind", "devices", "host"} <= found.keys()


def test_the_gravest_comes_first():
    order = [each.what for each in around(again(real(), budget="soak", commit="1" * 40), good())]
    assert order.index("kind") < order.index("devices") < order.index("budget") < order.index("commit")


def test_throttling_and_versions_are_conditions():
    def told(version, *reasons):
        doubt = {"validity": "suspect" if reasons else "valid", "reasons": reasons}
        rows = [
            measured("bandwidth", {"x": 1}, Work(bytes=1e9), repetition=r, saturates="dram", version=version, **doubt)
            for r in range(2, 7)
        ]
        return by_hand(rows)

    found = values(told(1), told(2, "clocks held by the power limit for 90% of the time"))
    assert found["clocks"] == ("not limited", "held by the power limit")
    assert found["probe version bandwidth"] == ("1", "2")
    assert found["validity"][0] == "valid"


# Which of many ratios are drawn, and how far the axis reaches: every ratio within it, whatever its interval.


def point(what="DRAM", ratio=1.0, low=0.99, high=1.01, **more):
    fields = {"what": what, "ratio": ratio, "low": low, "high": high}
    return fields | {"headline": True, "differs": not low <= 1 <= high, "crowded": False} | more


def test_of_many_rows_those_that_say_something_are_kept():
    many = [point(f"roof {k}", headline=False) for k in range(20)]
    odd = point("odd", 0.9, 0.89, 0.91, headline=False)
    assert rows([*many, odd, point()]) == ["DRAM", "odd"]
    assert rows([*many[:3], point()]) == ["DRAM", "roof 0", "roof 1", "roof 2"]


@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(1, 1e6), st.floats(1, 1e6)), min_size=1, max_size=8))
def test_the_axis_holds_every_ratio_and_says_which_interval_leaves_it(found):
    points = [point(ratio=ratio, low=ratio / below, high=ratio * above) for ratio, below, above in found]
    low, high = edges(points, 0.02)
    for each in points:
        assert low < each["ratio"] < high
        out = [bound for bound in bounds(each) if not low <= bound <= high]
        assert [bound for bound, _ in beyond(each, low, high)] == out
        assert all(edge in (low, high) for _, edge in beyond(each, low, high))


def test_of_several_in_a_row_only_telling_intervals_stand():
    assert bounds(point(crowded=True)) == (1.0, 1.0)
    assert bounds(point(ratio=0.9, low=0.89, high=0.91, crowded=True)) == (0.89, 0.91)
