"""Why learning did not help, as far as measurements can say: a function for each question that a run can be asked."""

from collections.abc import Mapping, Sequence

import numpy as np

from residual_rl.config import Config
from residual_rl.diagnosis.diagnosis import Diagnosis, Finding
from residual_rl.diagnosis.evidence import EPISODES, Evidence

Rows = Sequence[Mapping[str, float]]

LITTLE_TO_GAIN = 0.98  # success rate of a base that leaves too little to gain to be told from chance
RARELY = 0.02  # share of episodes
OFTEN = 0.4  # share of the residual's components; a base at its bound has half of a symmetric residual clipped
DEAF = 0.01  # standard deviation of values over actions or goals, as a share of that over states; 0.1 and 0.5 are usual
LOOSE = 0.3  # correlation
IDLE = 0.001  # mean |change of the action|; the box is 2 wide
TAKEN_BACK = 0.5  # share of a residual
POINTS = 300
NO_CRITIC = "This algorithm has no critic that could be asked."


def diagnose(config: Config, step: int, evidence: Evidence | None, evaluations: Rows, metrics: Rows) -> Diagnosis:
    """What the evidence and the rows of `evaluations.csv` and `metrics.csv` say. Without evidence there are no findings."""
    if evidence is None:
        return Diagnosis(step, (), ())
    findings = (
        _headroom(config, evidence, evaluations, metrics),
        _outcomes(config, evidence, metrics),
        _reward(config, evidence, metrics),
        _goal(evidence),
        _action(evidence),
        _value(evidence),
        _preference(evidence, metrics),
        _size(config, evidence),
        _clipping(config, evidence),
        _controller(config, evidence),
    )
    return Diagnosis(step, findings, _points(evidence))


def _finding(name: str, warns: bool, measured: str, sound: str, warning: str, **numbers: float) -> Finding:
    standing, meaning = ("warning", warning) if warns else ("sound", sound)
    return Finding(name, standing, measured, meaning, {key: round(float(value), 6) for key, value in numbers.items()})


def _unknown(name: str, why: str) -> Finding:
    return Finding(name, "unknown", "", why, {})


def _headroom(config: Config, evidence: Evidence, evaluations: Rows, metrics: Rows) -> Finding:
    """Whether there is anything to gain, and exploration ever finds it."""
    if not evaluations:
        return _unknown("headroom", "The base has not been evaluated yet.")
    if config.measured_by == "return":
        base, best = evaluations[-1]["base_mean_return"], float(evidence.returns.max())
        return _finding(
            "headroom",
            best <= base,
            f"mean return of the base {base:.4g}, best training episode {best:.4g}",
            "Exploration finds episodes that earn more than the base's mean.",
            "No recent training episode earned as much as the base does on average: explore less, so that the base gets to "
            "its end, or give the residual a larger scale.",
            base=base,
            best=best,
        )
    base, ever = evaluations[-1]["base_success_rate"], max(_acting_success(metrics), default=0.0)
    measured = f"base succeeds in {base:.1%}, the best training cycle in {ever:.1%}"
    if base >= LITTLE_TO_GAIN:
        warning = "The base leaves next to nothing to gain: nothing can be promoted over it. A harder variant leaves more."
    else:
        warning = (
            "Neither base nor exploration has ever succeeded, so nothing shows the way: a better controller, easier goals or a "
            "shaped reward."
        )
    nothing = base == 0.0 and ever == 0.0
    sound = "There is something to gain, and training episodes reach it."
    return _finding("headroom", base >= LITTLE_TO_GAIN or nothing, measured, sound, warning, base=base, best_cycle=ever)


def _outcomes(config: Config, evidence: Evidence, metrics: Rows) -> Finding:
    """Whether the replay has both good and bad episodes."""
    if config.measured_by == "return":
        spread = float(evidence.returns.std())
        measured = f"returns of the latest episodes differ by a standard deviation of {spread:.4g}"
        sound = "Episodes differ, so there is something to learn from."
        return _finding("outcomes", spread == 0.0, measured, sound, "All episodes earn the same: explore more.", spread=spread)
    cycles = -(-EPISODES // config.episodes_per_cycle)
    success = _acting_success(metrics)[-cycles:] if evidence.success is None else evidence.success
    if not len(success):
        return _unknown("outcomes", "No training episode has ended yet.")
    share, numbers = float(np.mean(success)), {"success": float(np.mean(success))}
    measured = f"{share:.1%} of the latest training episodes succeed"
    explored = _acted(evidence)
    if evidence.success is not None and explored.any():
        numbers["explored_success"] = float(evidence.success[explored].mean())
        measured += f", {numbers['explored_success']:.1%} of those with a residual"
    moved = 0.0 if evidence.moved is None else float(evidence.moved.mean())
    relabelled = config.hindsight.relabel_ratio > 0 and evidence.moved is not None
    if share == 0.0 and relabelled:
        numbers["moved"] = moved
        measured += f"; in {moved:.1%} the achieved goal changes"
    sound = "Successes and failures are both there to be told apart."
    if share == 0.0:
        sound = "No success, but hindsight learns from what was achieved instead."
        if relabelled:
            warning = (
                "Only failures, and what is to be moved hardly ever is: hindsight has nothing to learn from. Explore more."
            )
        else:
            warning = (
                "Only failures: the critics cannot know what a success is worth. A better base, or hindsight, would show it."
            )
    else:
        warning = "Only successes: the critics cannot know what a failure is. Explore more, or start from harder states."
    nothing = share == 1.0 or (share == 0.0 and not (relabelled and moved > RARELY))
    return _finding("outcomes", nothing, measured, sound, warning, **numbers)


def _reward(config: Config, evidence: Evidence, metrics: Rows) -> Finding:
    """Whether the reward is what the success is."""
    one = evidence.rows.reward[0]
    # Where episodes end early a constant reward tells them apart by their length.
    if (evidence.rows.reward == one).all() and not evidence.rows.terminated.any():
        if config.hindsight.relabel_ratio > 0 and evidence.moved is not None and evidence.moved.any():
            return _unknown(
                "reward", f"Every recent step was rewarded with {one:.4g}; hindsight's goals are rewarded otherwise."
            )
        return _finding("reward", True, f"every step {one:.4g}", "", "A reward that never changes teaches nothing.", spread=0.0)
    if config.measured_by == "return":
        return _unknown("reward", "The task is measured by its return itself.")
    if evidence.success is None:
        rows = [row for row in metrics if np.isfinite(row["acting_success_rate"])][-EPISODES:]  # cycles, not all of a long run
        success, returns = (np.array([row[name] for row in rows]) for name in ("acting_success_rate", "acting_mean_return"))
    else:
        success, returns = evidence.success.astype(float), evidence.returns
    ordered = np.sign(success[:, None] - success[None])
    if not ordered.any():
        return _unknown("reward", "Success was always the same, so the return cannot be compared with it.")
    agreement = float((ordered * np.sign(returns[:, None] - returns[None])).sum() / np.abs(ordered).sum())
    return _finding(
        "reward",
        agreement < LOOSE,
        f"of two episodes the more successful one earns more, minus earns less: {agreement:+.2f}",
        "Who succeeds earns more.",
        "Success hardly shows in the return: the learner optimises something else than what is judged. Check the reward, or "
        "judge by the return (measured_by).",
        agreement=agreement,
    )


def _goal(evidence: Evidence) -> Finding:
    """Whether the goal reaches who has to act on it."""
    if evidence.predicted is None:
        return _unknown("goal", NO_CRITIC)
    if evidence.goal_values is None:
        return _unknown("goal", "The world has no goals: whatever changes between episodes has to be in the observation.")
    goals = evidence.rows.observation["desired_goal"][evidence.starts]
    if len(goals) < 2 or (goals == goals[0]).all():
        return _unknown("goal", "All recent episodes had the same goal.")
    critics = _share(float(evidence.goal_values.std(axis=1).mean()), float(evidence.predicted.std()))
    measured, numbers = f"values change with the goal {critics:.2f} times as much as with the state", {"critics": critics}
    if evidence.goal_base_actions is not None:
        numbers["base"] = float(np.ptp(evidence.goal_base_actions, axis=1).max(axis=1).astype(bool).mean())
        measured += f"; the base action does in {numbers['base']:.0%} of the states"
    return _finding(
        "goal",
        critics < DEAF,
        measured,
        "The critics know what is asked for.",
        "The critics do not see the goal, or cannot tell one from another: check that it is in the observation, and in units "
        "in which goals differ by more than 0.01.",
        **numbers,
    )


def _action(evidence: Evidence) -> Finding:
    """Whether the critics are sensitive to the action."""
    if evidence.predicted is None or evidence.residual_values is None:
        return _unknown("action", NO_CRITIC)
    share = _share(float(evidence.residual_values.std(axis=1).mean()), float(evidence.predicted.std()))
    return _finding(
        "action",
        share < DEAF,
        f"values change with the residual {share:.3f} times as much as with the state",
        "The critics tell actions apart.",
        "The critics hardly see the action, and the actor has no gradient to follow: explore in more steps, use a larger "
        "scale, or a longer burn-in.",
        ratio=share,
    )


def _value(evidence: Evidence) -> Finding:
    """Whether the value is calibrated."""
    if evidence.predicted is None:
        return _unknown("value", NO_CRITIC)
    predicted, followed = evidence.predicted[evidence.early], evidence.followed[evidence.early]
    spread, bias = float(followed.std()), float((predicted - followed).mean())
    if spread == 0.0:
        return _unknown("value", "What followed was the same everywhere, so no prediction can be tested.")
    correlation = 0.0
    if predicted.std() > 0:
        correlation = float(np.corrcoef(predicted, followed)[0, 1])
    if correlation < LOOSE:
        warning = "What the critics predict has little to do with what followed: train longer, or update more often per step."
    elif bias > 0:
        warning = "The critics promise far more than follows: lower their learning rate, or use more critics or more caution."
    else:
        warning = "The critics promise far less than follows: they lag behind; train longer or raise target_rate."
    return _finding(
        "value",
        correlation < LOOSE or abs(bias) > spread,
        f"correlation with what followed {correlation:.2f}, bias {bias:+.3g} where returns spread by {spread:.3g}",
        "What the critics predict is what follows.",
        warning,
        correlation=correlation,
        bias=bias,
        spread=spread,
    )


def _preference(evidence: Evidence, metrics: Rows) -> Finding:
    """Where the policy lets the residual act, and whether its own critics prefer it there."""
    acts = (evidence.residual != 0.0).any(axis=1)
    share, never = float(acts.mean()), 1.0 - float(np.mean(np.logical_or.reduceat(acts, evidence.starts)))
    prefers_base = np.zeros(len(acts), dtype=bool) if evidence.advantage is None else evidence.advantage < 0
    against = float(prefers_base[acts].mean()) if acts.any() else 0.0
    measured = f"the residual acts in {share:.1%} of the steps, and not at all in {never:.1%} of the episodes"
    if acts.any() and evidence.advantage is not None:
        measured += f"; in {against:.1%} of its steps the critics prefer the base"
    if metrics and metrics[-1]["burn_in"]:
        warning = "The actor has not begun to learn: the burn-in is not over. Train longer, or shorten it."
    elif 1.0 - never < RARELY:
        warning = "The policy is the base nearly everywhere: train longer, explore more, or lower the caution of the gate."
    else:
        warning = "The actor does what its own critics think worse than the base: it lags behind them; raise its learning rate."
    return _finding(
        "preference",
        1.0 - never < RARELY or against > 0.5,
        measured,
        "The residual acts, and where it does the critics prefer it.",
        warning,
        steps=share,
        episodes_without=never,
        against=against,
    )


def _size(config: Config, evidence: Evidence) -> Finding:
    """How large the residual is against the base."""
    base = evidence.rows.base_action.clip(-1.0, 1.0)
    if not _adds(config, evidence):
        return _unknown("size", "Nothing is added to a base.")
    change = float(np.abs(config.algorithm.composition.action(evidence.rows.base_action, evidence.residual) - base).mean())
    ratio = _share(change, float(np.abs(base).mean()))
    idle = change < IDLE
    return _finding(
        "size",
        idle or ratio > 1.0,
        f"the policy changes the action by {change:.3f} on average, {ratio:.2f} times the base action",
        "The residual corrects the base.",
        "The policy does what the base does: see `preference`; a larger scale gives it room."
        if idle
        else "The policy overrides the base instead of correcting it: try a smaller scale.",
        change=change,
        ratio=ratio,
    )


def _clipping(config: Config, evidence: Evidence) -> Finding:
    """How often the sum is clipped."""
    composition, rows = config.algorithm.composition, evidence.rows
    acting = rows.residual != 0.0  # in training, where every component is tried
    if not acting.any():
        return _unknown("clipping", "No residual has acted in the latest episodes.")
    wanted = composition.unclipped(rows.base_action, rows.residual)
    share = float((np.abs(wanted) > 1.0 + 1e-6)[acting].mean())
    bound = float((np.abs(composition.alone(rows.base_action)) >= 1.0).mean())
    return _finding(
        "clipping",
        share > OFTEN,
        f"{share:.1%} of the components of base plus residual are clipped; {bound:.1%} of those of the base are at a bound",
        "What the residual says is what happens.",
        "Most of what the residual says is cut off, so the actor learns from actions that were never taken: let the base keep "
        "away from its bounds, or use a smaller scale.",
        clipped=share,
        base_at_bound=bound,
    )


def _controller(config: Config, evidence: Evidence) -> Finding:
    """Whether the controller fights the residual."""
    rows = evidence.rows
    base = rows.base_action.clip(-1.0, 1.0).astype(np.float64)
    applied = rows.action - base
    if not _adds(config, evidence):
        return _unknown("controller", "There is no base that could fight.")
    if np.abs(applied).mean() < IDLE:
        return _unknown("controller", "Hardly any residual has acted in the latest episodes.")
    change = rows.next_base_action.clip(-1.0, 1.0) - base
    # What the base would have changed anyway depends on where it is: that is taken out by regressing on the base action too.
    causes = np.stack([(column - column.mean(axis=0)).ravel() for column in (-applied, base)], axis=1)
    effect = (change - change.mean(axis=0)).ravel()
    share = float(np.linalg.lstsq(causes, effect, rcond=None)[0][0])
    return _finding(
        "controller",
        share > TAKEN_BACK,
        f"with its next action the controller takes back {share:+.0%} of a residual",
        "The controller leaves the residual its effect.",
        "The controller corrects what the residual does before it has an effect: lower its gain, or let the residual move its "
        "target instead of its output.",
        taken_back=share,
    )


def _adds(config: Config, evidence: Evidence) -> bool:
    """Whether a base that does something takes part in the sum."""
    return bool(config.algorithm.composition.alone(evidence.rows.base_action).any())


def _acted(evidence: Evidence) -> np.ndarray:
    """Whether a residual acted in an episode of training: `[E]` bool."""
    return np.logical_or.reduceat((evidence.rows.residual != 0.0).any(axis=1), evidence.starts)


def _acting_success(metrics: Rows) -> list[float]:
    return [row["acting_success_rate"] for row in metrics if np.isfinite(row["acting_success_rate"])]


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _points(evidence: Evidence) -> tuple[tuple[float, float], ...]:
    if evidence.predicted is None:
        return ()
    pairs = np.stack([evidence.predicted, evidence.followed], axis=1)[evidence.early].round(4)
    pairs = pairs[np.linspace(0, len(pairs) - 1, min(POINTS, len(pairs))).astype(int)]
    return tuple((float(predicted), float(followed)) for predicted, followed in pairs)
