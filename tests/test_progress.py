"""What a run tells while it works: plan, progress, verdict and metrics."""

import io
from importlib.util import find_spec
from pathlib import Path

import pytest
from drawn_world import Drawn
from rich.console import Console
from test_custom_runs import stop_after
from tiny import TINY
from worlds import Aim

import residual_rl
from residual_rl.config import Config, changed
from residual_rl.errors import Interrupted, ResidualRLError
from residual_rl.presets import FEWEST, judging_steps, pace
from residual_rl.progress.plan import Clock, Plan, duration, plan_of
from residual_rl.progress.reporter import Lines, Progress, Shown, reporter_of
from residual_rl.progress.terminal import Terminal
from residual_rl.runs.reading import read_rows

PLAN = Plan(1000, 3, 10, 40, 20.0, 600, 1600)


def config_for(steps: int, episode_steps: float, preset: str = "default") -> Config:
    fields = {name: value for name, value in pace(episode_steps, None, preset, steps).items() if "." not in name}
    return changed(Config(task="a", controller="b", steps=steps), fields)


@pytest.mark.parametrize("episode_steps", [5.5, 50, 200, 1000])
@pytest.mark.parametrize("episodes", [40, 70, 200, 1000, 5000])
def test_judging_costs_at_most_as_much_as_training(episode_steps: float, episodes: int) -> None:
    config = config_for(round(episodes * episode_steps), episode_steps)
    assert judging_steps(config, episode_steps).total <= config.steps
    assert config.verdict_episodes >= FEWEST["verdict_episodes"]
    assert config.evaluation_episodes >= FEWEST["evaluation_episodes"]


def test_a_large_budget_has_the_presets_evaluations() -> None:
    config = config_for(2_000_000, 50)
    assert (config.evaluation_episodes, config.verdict_episodes) == (100, 500)
    assert 5000 <= config.evaluation_interval <= 5250  # as often as the preset's, less what the verdict costs
    assert config_for(100_000, 50).verdict_episodes == 500


def test_the_plan_counts_what_is_rolled_out(tmp_path: Path) -> None:
    lines: list[str] = []
    before = Drawn.stepped
    fields = TINY | {"steps": 200, "evaluation_interval": 100, "tell": lines.append, "horizon": 5}
    residual_rl.improve(Drawn, lambda shown: 0.5 * shown, out=tmp_path, **fields)
    plan = next(line for line in lines if line.startswith("plan"))
    assert plan == (
        "plan: 200 training steps; 3 evaluations of 5 episodes, about 120 steps; "
        "verdict on 10 pairs of episodes, about 100 steps"
    )
    # On top come the first look at the base, and lanes of a batch that repeat an episode.
    assert 200 + 120 + 100 <= Drawn.stepped - before <= 2 * (200 + 120 + 100)


def test_the_time_left_counts_training_evaluations_and_verdict() -> None:
    clock = Clock(PLAN, interval=500)
    for seconds in (30.0, 20.0, 2.0, 2.0, 9.0):  # the first two compile
        clock.add_cycle(100, seconds)
    assert clock.seconds_left(500) is None
    clock.add_evaluation(3.0)
    assert clock.steps_per_second == 50.0
    assert clock.seconds_left(500) == 500 / 50 + 1 * 3.0 + 8 * 3.0
    assert [duration(seconds) for seconds in (12.3, 90, 3600, 5000)] == ["12 s", "2 min", "1 h 00 min", "1 h 23 min"]


def test_a_line_is_given_at_each_evaluation_and_the_verdict_at_the_end(tmp_path: Path) -> None:
    lines: list[str] = []
    run = residual_rl.improve("push", out=tmp_path, tell=lines.append, **TINY)
    steps = [line for line in lines if line.startswith("step")]
    assert len(steps) == len(read_rows(tmp_path / "evaluations.csv")) == 4
    assert steps[0].startswith("step 0 of 1,200, success: base ")
    assert " steps/s, " in steps[-1]
    assert " left, " in steps[-1]
    assert lines[0].startswith("plan: 1,200 training steps; ")
    assert lines[-1] == str(run.verdict())


def test_print_prints_and_none_is_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = TINY | {"steps": 200}
    run = residual_rl.improve("push", out=tmp_path / "printed", **few)
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == str(run.verdict())
    assert printed.err == ""
    residual_rl.improve("push", out=tmp_path / "silent", tell=None, **few)
    residual_rl.evaluate("push", episodes=2, tell=None)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_and_a_log_file_gets_lines() -> None:
    page, results = io.StringIO(), io.StringIO()
    terminal = Terminal(Console(file=page, force_terminal=True, width=120), Console(file=results))
    with reporter_of(terminal) as report:
        assert isinstance(report, Shown)
        report.progress(Progress(500, 1000, "success", 0.4, 0.6, True, 50.0, 37.0))
        report.verdict("better")
    assert "500 of 1,000 steps 50 steps/s, 37 s left success: base 0.40, policy 0.60" in page.getvalue()
    assert results.getvalue() == "better\n"
    plain = reporter_of(Terminal(Console(file=io.StringIO()), Console(file=io.StringIO())))
    assert isinstance(plain, Lines)
    assert not isinstance(plain, Shown)


def test_progress_is_given_in_what_the_task_is_measured_by() -> None:
    assert str(Progress(0, 100, "success", 0.45, 0.9)) == "step 0 of 100, success: base 0.45, policy 0.90"
    assert str(Progress(5, 100, "return", -109.731, -98.5)) == "step 5 of 100, return: base -109.7, policy -98.5"


def test_burn_in_is_measured_in_the_length_of_episodes_not_in_the_horizon(tmp_path: Path) -> None:
    """Episodes of 3 to 8 steps under a horizon of 50: burn-in is about 45 of the 300 steps, and no cause for alarm."""

    def lines_with(cycles: int, out: Path) -> list[str]:
        lines: list[str] = []
        few = TINY | {"steps": 300, "tell": lines.append, "horizon": 50, "algorithm.burn_in.cycles": cycles}
        residual_rl.improve(Aim, Aim.off_by(1.0), out=out, **few)
        return [line for line in lines if "burn-in" in line]

    assert lines_with(2, tmp_path / "short") == []
    warned = lines_with(20, tmp_path / "long")
    assert len(warned) == 1
    assert "of the 300 steps" in warned[0]


def test_tensorboard_gets_every_row_once_also_of_a_run_that_was_resumed(tmp_path: Path) -> None:
    from tensorboardX.proto.event_pb2 import Event

    fields = TINY | {"log": "tensorboard", "tell": None, "checkpoint_seconds": 0.0}
    with pytest.raises(Interrupted):
        residual_rl.improve("push", out=tmp_path, on_progress=stop_after(3), **fields)
    residual_rl.improve("push", out=tmp_path, **fields)
    points: dict[str, list[int]] = {}
    for file in sorted((tmp_path / "tensorboard").iterdir()):
        content = file.read_bytes()
        while content:
            size = int.from_bytes(content[:8], "little")
            event = Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]
            for value in event.summary.value:
                points.setdefault(value.tag, []).append(event.step)
    for name, group in (("metrics.csv", "training"), ("evaluations.csv", "evaluation")):
        rows = read_rows(tmp_path / name)
        column = "acting_success_rate" if group == "training" else "success_rate"
        assert points[f"{group}/{column}"] == [int(row["step"]) for row in rows]
    assert points["verdict/promoted"] == [0]


def test_weights_and_biases_gets_the_run_or_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    fields = TINY | {"steps": 200, "log": "wandb", "tell": None}
    if find_spec("wandb") is None:
        with pytest.raises(ResidualRLError, match=r"need wandb: pip install 'residual-rl\[wandb\]'"):
            residual_rl.improve("push", out=tmp_path, **fields)
        return
    residual_rl.improve("push", out=tmp_path, **fields)
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))


def test_an_unknown_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResidualRLError, match=r"there is no log called 'tensorbord'.*'tensorboard'"):
        residual_rl.improve("push", out=tmp_path, log="tensorbord", tell=None, **TINY)


def test_a_plan_is_that_of_its_configuration() -> None:
    config = Config(
        task="a", controller="b", steps=10_000, evaluation_interval=4000, evaluation_episodes=50, verdict_episodes=80
    )
    plan = plan_of(config, 20.0)
    assert (plan.evaluations, plan.evaluation_steps, plan.verdict_steps) == (4, (5 * 50 + 20) * 20, 3200)
