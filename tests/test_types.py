"""What an observation keeps while it is taken apart and put together."""

import numpy as np
import pytest

from residual_rl.types import Observation, map_observation, select, with_goal, without_state

PLAIN = Observation(observation=np.arange(6.0).reshape(3, 2), achieved_goal=np.zeros((3, 1)), desired_goal=np.ones((3, 1)))
WITH_STATE = Observation(**{**PLAIN, "state": np.arange(12.0).reshape(3, 4)})


@pytest.mark.parametrize("given", [PLAIN, WITH_STATE], ids=["plain", "with state"])
def test_rows_and_another_goal_keep_the_state_where_there_is_one(given):
    rows = select(given, [2, 0])
    assert rows.keys() == given.keys()
    assert all(np.array_equal(rows[key], given[key][[2, 0]]) for key in given)
    elsewhere = with_goal(given, np.full((3, 1), 7.0))
    assert elsewhere.keys() == given.keys()
    assert all(np.array_equal(elsewhere[key], given[key]) for key in given if key != "desired_goal")
    assert np.array_equal(elsewhere["desired_goal"], np.full((3, 1), 7.0))


def test_a_state_that_some_do_not_have_is_dropped():
    assert map_observation(np.add, WITH_STATE, WITH_STATE).keys() == WITH_STATE.keys()
    assert map_observation(np.add, WITH_STATE, PLAIN).keys() == PLAIN.keys()


def test_without_state_is_all_the_rest():
    assert without_state(WITH_STATE) == PLAIN
    assert without_state(PLAIN).keys() == PLAIN.keys()
    assert "state" in WITH_STATE
