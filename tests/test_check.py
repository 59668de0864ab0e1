"""Each rule of a configuration's check refuses what lies outside, names the field, and lets the borders pass."""

from types import SimpleNamespace

import pytest

from jaxdistill.common.validate import check

INFINITE = float("inf")
RULES = {
    "positive": ([1e-9, 3], [0, -1, INFINITE, float("nan")], "a positive number"),
    "shares": ([0, 0.5, 1], [-0.1, 1.1], "a number from 0 to 1"),
    "momenta": ([0, 0.9], [1, -0.1], "a number from 0 to below 1"),
    "counts": ([1, 9], [0, -1], "at least 1"),
    "not_negative": ([0, 7.5], [-1e-9, INFINITE], "a number of at least 0"),
}


@pytest.mark.parametrize("rule", RULES)
def test_values_in_range_pass_and_others_are_named(rule):
    good, bad, wanted = RULES[rule]
    for value in good:
        check(SimpleNamespace(size=value), **{rule: ("size",)})
    for value in bad:
        with pytest.raises(ValueError, match=f"`size` of SimpleNamespace is {wanted}, not {value}"):
            check(SimpleNamespace(size=value), **{rule: ("size",)})


def test_a_choice_is_one_of_those_known():
    check(SimpleNamespace(distance="near"), choices={"distance": ("near", "far")})
    with pytest.raises(ValueError, match="`distance` of SimpleNamespace is one of near, far, not 'up'"):
        check(SimpleNamespace(distance="up"), choices={"distance": ("near", "far")})
