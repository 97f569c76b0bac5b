"""A table as a controller: the nearest row, safe files, and runs that keep their table."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scripted_pusher import recorded_table, scripted
from test_cli import command
from tiny import TINY

import residual_rl
from residual_rl.controllers import TableController, Zero, make_controller, name_of, propose, reads_goal
from residual_rl.errors import ControllerError, RunError
from residual_rl.evaluation import base_alone, evaluation_envs, roll_out
from residual_rl.residual import Composition
from residual_rl.runs.reading import read_rows
from residual_rl.tasks import TASKS
from residual_rl.types import Observation, Spec, Transition

TASK = TASKS["mbrl-pusher"]
SHORT = {name: value for name, value in TINY.items() if name != "steps"} | {
    "steps": 1200,
    "episodes_per_cycle": 2,
    "evaluation_interval": 600,
    "evaluation_episodes": 4,
    "verdict_episodes": 8,
}
"""Four cycles of two episodes, the first two with the critics alone."""


@pytest.fixture(scope="module")
def table():
    return recorded_table()


@pytest.fixture
def file(tmp_path, table):
    path = tmp_path / "recorded.npz"
    table.save(path)
    return path


def seeing(states):
    states = np.asarray(states, dtype=np.float64)
    return Observation(observation=states, achieved_goal=states[:, :0], desired_goal=states[:, :0])


def same(first, second):
    return np.array_equal(first.states, second.states) and np.array_equal(first.actions, second.actions)


# --- what it proposes ---


@given(
    hnp.arrays(np.float64, (7, 3), elements=st.floats(-5, 5)),
    hnp.arrays(np.float64, (4, 3), elements=st.floats(-5, 5)),
)
def test_it_proposes_what_was_done_in_the_nearest_state(states, asked):
    actions = np.arange(14.0).reshape(7, 2)
    proposal = TableController(states, actions)(seeing(asked))
    distances = np.linalg.norm(asked[:, None] - states, axis=2)
    chosen = (proposal[:, 0] / 2).astype(int)
    assert np.array_equal(proposal, actions[chosen])  # a row as it is, nothing in between
    np.testing.assert_allclose(distances[np.arange(4), chosen], distances.min(axis=1), atol=1e-12)


def test_nothing_is_scaled():
    # The second entry is nearer in units of its own spread; the first is nearer in metres.
    table = TableController(np.array([[0.0, 0.0], [0.1, 100.0]]), np.array([[1.0], [2.0]]))
    assert table(seeing([[0.1, 40.0], [0.0, 60.0]])).tolist() == [[1.0], [2.0]]


def test_in_a_recorded_state_it_repeats_what_was_recorded(table):
    assert np.array_equal(table(seeing(table.states)), table.actions)


def test_a_batch_is_answered_like_its_rows_and_asking_changes_nothing(table):
    asked = table.states[::7] + np.random.default_rng(0).normal(scale=0.1, size=table.states[::7].shape)
    together = table(seeing(asked))
    assert np.array_equal(together, [table(seeing(row[None]))[0] for row in asked])
    together[:] = np.nan
    assert np.isfinite(table(seeing(asked))).all()


def test_it_says_that_it_does_not_read_the_goal(table):
    assert not reads_goal(table)


def test_actions_beyond_the_box_are_kept():
    table = TableController(np.zeros((1, 3)), np.array([[1.22, -3.0]]))
    assert propose(table, seeing(np.ones((1, 3))), 2).tolist() == [[1.22, -3.0]]


# --- made of rollouts ---


def rollout(first, length):
    """An episode whose observations and actions are counted."""
    steps = np.arange(first, first + length, dtype=float)[:, None]
    fields = dict.fromkeys(Transition._fields)
    return Transition(**(fields | {"observation": seeing(steps), "action": -steps}))  # type: ignore[arg-type]


def test_rollouts_become_rows_in_their_order():
    whole = TableController.from_rollouts([rollout(0, 5), rollout(10, 5)])
    assert whole.states[:, 0].tolist() == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    assert np.array_equal(whole.actions, -whole.states)
    assert same(
        TableController.from_rollouts([rollout(0, 5), rollout(10, 5)], rows=7),
        TableController(*(array[:7] for array in (whole.states, whole.actions))),
    )


def test_too_few_steps_are_refused():
    with pytest.raises(ControllerError, match="11 rows were requested, but the episodes have only 10 steps"):
        TableController.from_rollouts([rollout(0, 5), rollout(10, 5)], rows=11)
    with pytest.raises(ControllerError, match="at least one episode"):
        TableController.from_rollouts([])


def test_recording_is_deterministic_and_holds_what_was_executed(table):
    again = recorded_table()
    assert same(table, again)
    assert (table.states.shape, table.actions.shape) == ((500, 20), (500, 7))
    assert np.abs(table.actions).max() == 1.0
    # Rows 0 and 150 begin episodes: the arm is stretched out and at rest.
    assert not table.states[[0, 150, 300, 450], :7].any()


def test_a_recorded_table_is_better_than_doing_nothing_and_worse_than_what_it_recorded(table):
    # Measured over 500 episodes: -144.0, -99.4 and -72.8. The table's standard error here is 4.4.
    envs = evaluation_envs(TASK, 32, num_threads=2)
    nothing, tabled, script = (
        roll_out(envs, base_alone(controller, Composition(), 7), list(range(32))).returns.mean()
        for controller in (Zero(7), table, scripted)
    )
    envs.close()
    assert nothing + 20 < tabled < script - 10


# --- files ---


def test_a_saved_table_is_loaded_as_it_was(table, file):
    loaded = TableController.load(file, TASK.spec)
    assert same(loaded, table)
    assert name_of(loaded) == name_of(table)


def test_a_table_is_known_by_what_it_holds(table, tmp_path):
    states, actions = np.arange(6.0).reshape(3, 2), np.ones((3, 1))
    name = name_of(TableController(states, actions))
    assert name == name_of(TableController(states.astype(np.float32), actions.astype(int)))
    others = [
        (states + 1e-12, actions),
        (states, -actions),
        (states[:2], actions[:2]),
        (np.arange(6.0).reshape(3, 2)[::-1], actions),
    ]
    assert len({name, *(name_of(TableController(*other)) for other in others)}) == 5
    assert name.startswith("table-")


def test_what_is_given_is_copied():
    states, actions = np.zeros((2, 1)), np.ones((2, 1))
    table = TableController(states, actions)
    actions[:] = 7.0
    states[:] = 7.0
    assert table(seeing([[0.0]])).tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("states", "actions", "complaint"),
    [
        (np.zeros((3, 2)), np.zeros((2, 1)), "one action for each state; it has 3 and 2"),
        (np.zeros((0, 2)), np.zeros((0, 1)), r"states must be a table .* not of shape \(0, 2\)"),
        (np.zeros((3, 2)), np.zeros((3, 0)), r"actions must be a table .* not of shape \(3, 0\)"),
        (np.zeros(3), np.zeros((3, 1)), r"not of shape \(3,\)"),
        (np.array([[0.0], [np.nan]]), np.zeros((2, 1)), "states must be finite, but row 1 holds nan in column 0"),
        (np.zeros((2, 1)), np.array([[0.0, 0.0], [0.0, -np.inf]]), "actions must be finite, but row 1 holds -inf in column 1"),
        (np.zeros((2, 1), dtype=complex), np.zeros((2, 1)), "real numbers, not complex128"),
        (np.array([["a"]]), np.zeros((1, 1)), "real numbers, not <U1"),
    ],
)
def test_what_is_no_table_is_refused_and_the_file_named(tmp_path, states, actions, complaint):
    with pytest.raises(ControllerError, match=complaint):
        TableController(states, actions)
    path = tmp_path / "odd.npz"
    np.savez(path, states=states, actions=actions)
    with pytest.raises(ControllerError, match=rf"odd\.npz: .*{complaint}"):
        TableController.load(path)


def test_a_table_for_another_task_is_refused(file):
    with pytest.raises(ControllerError, match="states have 20 numbers and its actions 7, but 25 and 4 are needed"):
        make_controller(str(file), TASKS["push"].spec)


def test_a_missing_file_is_named():
    with pytest.raises(ControllerError, match=r"there is no table at 'nowhere/of\.npz'"):
        make_controller("nowhere/of.npz", TASK.spec)


def test_a_missing_array_is_named(tmp_path):
    np.savez(tmp_path / "half.npz", states=np.zeros((2, 1)))
    with pytest.raises(ControllerError, match="needs the arrays 'states' and 'actions'"):
        TableController.load(tmp_path / "half.npz")


class Bomb:
    def __reduce__(self):
        return (Path("exploded").touch, ())


@pytest.mark.parametrize("form", ["object array", "bare pickle", "single array", "text", "nothing"])
def test_a_file_of_another_kind_is_refused_and_nothing_in_it_is_executed(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "strange.npz"
    if form == "object array":
        np.savez(path, states=np.array([[Bomb()]], dtype=object), actions=np.zeros((1, 1)))
    elif form == "single array":
        buffer = io.BytesIO()
        np.save(buffer, np.zeros((2, 2)))
        path.write_bytes(buffer.getvalue())
    else:
        path.write_bytes({"bare pickle": pickle.dumps(Bomb()), "text": b"years of work", "nothing": b""}[form])
    with pytest.raises(ControllerError, match="is damaged, or is no NumPy archive of plain numbers"):
        TableController.load(path)
    assert not Path("exploded").exists()


def test_no_truncated_or_altered_file_goes_unnoticed(table, file):
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    for length in rng.integers(0, len(whole), 40):
        file.write_bytes(whole[:length])
        with pytest.raises(ControllerError, match="recorded"):
            TableController.load(file)
    for place in rng.integers(0, len(whole), 200):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            assert same(TableController.load(file), table)  # what was altered is not a number
        except ControllerError as error:
            assert "recorded" in str(error)  # noqa: PT017


# --- runs ---


@pytest.fixture(scope="module")
def finished(tmp_path_factory, table):
    """A run over a table in a file that is gone afterwards."""
    directory = tmp_path_factory.mktemp("tables")
    table.save(directory / "recorded.npz")
    residual_rl.improve("mbrl-pusher", str(directory / "recorded.npz"), out=directory / "run", **SHORT)
    (directory / "recorded.npz").unlink()
    return directory / "run"


def test_a_run_over_a_table_trains_and_its_values_stay_below_zero(finished):
    rows = read_rows(finished / "metrics.csv")
    assert [row["burn_in"] for row in rows] == [1.0, 1.0, 0.0, 0.0]
    assert all(np.isfinite(list(row.values())).all() for row in rows)
    assert rows[-1]["mean_value"] < rows[0]["mean_value"] < 0.0  # they go down towards what the episodes are worth


def test_the_first_evaluation_is_the_table_exactly(finished):
    first = read_rows(finished / "evaluations.csv")[0]
    assert (first["step"], first["deviation"]) == (0.0, 0.0)
    assert -150 < first["mean_return"] < -60


def test_a_run_keeps_its_table_and_needs_no_other_file(finished, table):
    assert same(TableController.load(finished / "base"), table)
    verdict = residual_rl.reevaluate(finished, episodes=8)
    assert (verdict.controller, verdict.measured_by) == (name_of(table), "return")
    policy = residual_rl.load(finished)
    assert np.array_equal(policy.controller(seeing(table.states)), table.actions)


def test_a_table_that_is_passed_in_is_the_same_as_its_file(finished, table, tmp_path):
    run = residual_rl.improve("mbrl-pusher", table, out=tmp_path / "run", **SHORT)
    assert run.config.controller == name_of(table)
    one, other = (
        [[value for name, value in row.items() if name != "wall_seconds"] for row in read_rows(path / "metrics.csv")]
        for path in (finished, run.path)
    )
    assert one == other


def test_a_stopped_run_goes_on_over_its_table(finished, table, tmp_path):
    def stop(progress):
        if progress.step == 600:
            raise KeyboardInterrupt

    table.save(tmp_path / "one.npz")
    table.save(tmp_path / "other.npz")
    with pytest.raises(KeyboardInterrupt):
        residual_rl.improve(
            "mbrl-pusher", str(tmp_path / "one.npz"), out=tmp_path / "run", on_progress=stop, checkpoint_seconds=0.0, **SHORT
        )
    assert not (tmp_path / "run" / "verdict.json").exists()
    residual_rl.improve("mbrl-pusher", str(tmp_path / "other.npz"), out=tmp_path / "run", **SHORT)
    last, expected = (read_rows(path / "evaluations.csv")[-1] for path in (tmp_path / "run", finished))
    assert {**last, "wall_seconds": 0} == {**expected, "wall_seconds": 0}


def test_a_residual_is_not_put_over_another_table(finished, table, tmp_path):
    other = TableController(table.states, -table.actions)
    with pytest.raises(ControllerError, match=rf"improves the controller '{name_of(table)}', not '{name_of(other)}'"):
        residual_rl.load(finished, other)
    with pytest.raises(RunError, match=f"controller: {name_of(table)} -> {name_of(other)}"):
        residual_rl.improve("mbrl-pusher", other, out=finished, **SHORT)
    for name in ("config.json", "policy.safetensors", "verdict.json"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    with pytest.raises(ControllerError, match="which the run directory does not hold: pass it"):
        residual_rl.load(tmp_path)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "artefact.json").write_bytes((finished / "base" / "artefact.json").read_bytes())
    other.save(tmp_path / "base")
    with pytest.raises(ControllerError, match="it is not what was saved"):
        residual_rl.load(tmp_path)


def test_the_command_line_takes_a_tables_file(file):
    done = command("evaluate", "mbrl-pusher", "--controller", file, "--episodes", "4")
    assert done.returncode == 0, done.stderr
    assert "table-" in done.stdout


def test_learning_over_a_table_that_is_not_there_says_so_and_leaves_nothing(tmp_path):
    with pytest.raises(ControllerError, match=r"there is no table at 'nowhere\.npz'"):
        residual_rl.improve("mbrl-pusher", "nowhere.npz", out=tmp_path / "run", **SHORT)
    assert not (tmp_path / "run").exists()


def test_a_spec_without_goals_is_no_obstacle():
    spec = Spec(observation_size=1, goal_size=0, action_size=1, horizon=4)
    assert propose(TableController(np.zeros((1, 1)), np.ones((1, 1))), seeing([[3.0]]), spec.action_size).tolist() == [[1.0]]


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "zeros.npz", states=np.zeros((1000, 25)), actions=np.zeros((1000, 4)))
    monkeypatch.setattr("residual_rl.controllers.table.MAX_BYTES", 100_000)
    with pytest.raises(ControllerError, match=r"a table may have 100000 bytes, and .*zeros\.npz has 23"):
        TableController.load(tmp_path / "zeros.npz")
