"""When the actor may start to learn: examples worked by hand."""

import pytest
from pydantic import ValidationError

from residual_rl.learning.burn_in import FixedBurnIn, ValueChangeBurnIn


@pytest.mark.parametrize(("cycles", "done", "over"), [(3, 0, False), (3, 2, False), (3, 3, True), (3, 9, True), (0, 0, True)])
def test_a_fixed_burn_in_is_over_after_its_cycles_whatever_the_values(cycles, done, over):
    assert FixedBurnIn(cycles=cycles).is_over([float("nan")] * done) is over


@pytest.mark.parametrize("rule", [FixedBurnIn(cycles=4), ValueChangeBurnIn(epoch_cycles=4)])
def test_no_burn_in_is_over_before_its_least_cycles(rule):
    assert not rule.is_over([0.0] * (rule.least_cycles - 1))
    assert rule.is_over([0.0] * rule.least_cycles)


# Epochs of two cycles, threshold 1. The epochs' means are in the comments.
CHANGES = [
    ([], False),  # the first epoch is always frozen,
    ([0.0], False),  # also if nothing moves in it
    ([0.2, 0.4], True),  # 0.3: moved by 0.3 from the 0 before the first epoch
    ([-2.0, -2.0], False),  # -2: moved by 2
    ([1.0, 1.0], True),  # 1: moved by no more than the threshold
    ([-2.0, -2.0, -2.5], False),  # an epoch not yet complete does not count
    ([-2.0, -2.0, -2.5, -2.7], True),  # -2, -2.6: moved by 0.6
    ([0.2, 0.4, 9.0], True),  # what was decided holds until the next epoch is complete,
    ([0.2, 0.4, 9.0, 9.0], False),  # 0.3, 9: and then the actor is frozen again
    ([0.2, 0.4, 9.0, 9.0, 9.5, 9.7], True),  # 0.3, 9, 9.6: and again let go
    ([5.0, 5.0, 0.0, 2.0, -4.0, 6.0], True),  # 5, 1, 1: it is the means that count, not what happens within
]


@pytest.mark.parametrize(("mean_values", "over"), CHANGES)
def test_the_actor_learns_after_an_epoch_in_which_the_value_moved_little(mean_values, over):
    assert ValueChangeBurnIn(threshold=1.0, epoch_cycles=2).is_over(mean_values) == over


def test_the_published_burn_in_has_epochs_of_fifty_cycles_and_a_threshold_of_one():
    burn_in = ValueChangeBurnIn()
    assert not burn_in.is_over([0.0] * 49)
    assert burn_in.is_over([1.0] * 50)
    assert not burn_in.is_over([1.1] * 50)
    assert burn_in.is_over([1.1] * 50 + [2.0] * 50)


@pytest.mark.parametrize(
    ("rule", "field", "value"),
    [
        (FixedBurnIn, "cycles", -1),
        (FixedBurnIn, "updates", 0),
        (ValueChangeBurnIn, "threshold", 0.0),
        (ValueChangeBurnIn, "epoch_cycles", 0),
    ],
)
def test_a_field_out_of_range_is_refused_by_name(rule, field, value):
    with pytest.raises(ValidationError, match=field):
        rule(**{field: value})
