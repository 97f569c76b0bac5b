"""Interpret the evidence: why did learning not help? One function for each question about a run."""

import numpy as np

from residual_rl.config import Config
from residual_rl.diagnosis.diagnosis import Diagnosis, Finding, finding, to_type, unknown
from residual_rl.diagnosis.evidence import EPISODES, Evidence
from residual_rl.diagnosis.gains import SCALE, Rows, SameStarts, gain, headroom, scaled

RARELY = 0.02  # share of episodes
OFTEN = 0.4  # share of the residual's components; a base at its bound has half of a symmetric residual clipped
FLAT = 0.01  # standard deviation of values over actions or goals, as a share of that over states; 0.1 and 0.5 are usual
LOOSE = 0.3  # correlation
IDLE = 0.001  # mean |change of the action|; an action ranges from -1 to 1
TAKEN_BACK = 0.5  # share of a residual
POINTS = 300
NO_CRITIC = "This algorithm has no critic to query."


def find_causes(
    config: Config,
    step: int,
    evidence: Evidence | None,
    evaluations: Rows,
    metrics: Rows,
    starts: SameStarts | None = None,
) -> Diagnosis:
    """Interpret the evidence and the rows of `evaluations.csv` and `metrics.csv`. Without evidence there are no findings.

    `starts` compares training episodes with the base from the same initial states; None if that was not measured.
    """
    if evidence is None:
        return Diagnosis(step, (), ())
    findings = (
        gain(config, evaluations),
        headroom(config, evaluations, max(_acting_success(metrics), default=0.0), starts),
        _outcomes(config, evidence, metrics),
        _reward(config, evidence, metrics),
        _goal(evidence),
        _action(config, evidence),
        _value(evidence),
        _preference(evidence, metrics),
        _size(config, evidence),
        _clipping(config, evidence),
        _controller(config, evidence),
    )
    return Diagnosis(step, findings, _points(evidence))


def _outcomes(config: Config, evidence: Evidence, metrics: Rows) -> Finding:
    """Return whether the replay has both good and bad episodes."""
    if config.measured_by != "success":
        spread = float(evidence.returns.std())
        measured = f"returns of the latest episodes differ by a standard deviation of {spread:.4g}"
        sound = "The episodes differ, so there is something to learn from."
        return finding(
            "outcomes",
            spread == 0.0,
            measured,
            sound,
            f"All episodes earn the same: explore with a larger residual, {_scale_line(config, 2.0)}.",
            spread=spread,
        )
    cycles = -(-EPISODES // config.episodes_per_cycle)
    success = _acting_success(metrics)[-cycles:] if evidence.success is None else evidence.success
    if not len(success):
        return unknown("outcomes", "No training episode has ended yet.")
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
    sound = "There are both successes and failures to learn from."
    if share == 0.0:
        sound = "There are no successes, but hindsight learns from the goals that were achieved instead."
        if relabelled:
            warning = (
                "There are only failures, and the achieved goal hardly ever changes, so hindsight has nothing to learn from: "
                f"explore with a larger residual, {_scale_line(config, 2.0)}."
            )
        else:
            warning = (
                "There are only failures, so the critics cannot learn what a success is worth: use a better base, or hindsight."
            )
    else:
        warning = "There are only successes, so the critics cannot learn what a failure is: start from harder states."
    nothing = share == 1.0 or (share == 0.0 and not (relabelled and moved > RARELY))
    return finding("outcomes", nothing, measured, sound, warning, **numbers)


def _reward(config: Config, evidence: Evidence, metrics: Rows) -> Finding:
    """Return whether the reward agrees with success."""
    one = evidence.rows.reward[0]
    # If episodes end early, they differ by their length even with a constant reward.
    if (evidence.rows.reward == one).all() and not evidence.rows.terminated.any():
        if config.hindsight.relabel_ratio > 0 and evidence.moved is not None and evidence.moved.any():
            return unknown(
                "reward", f"Every recent step has the reward {one:.4g}; steps with hindsight's goals have other rewards."
            )
        return finding(
            "reward", True, f"the reward of every step is {one:.4g}", "", "A constant reward teaches nothing.", spread=0.0
        )
    if config.measured_by == "return":
        return unknown("reward", "The task is measured by its return, which is the reward itself.")
    if config.measured_by == "time":
        return unknown("reward", "The task is measured by its time, which the replay does not tell.")
    if evidence.success is None:
        rows = [row for row in metrics if np.isfinite(row["acting_success_rate"])][-EPISODES:]  # cycles, not all of a long run
        success, returns = (np.array([row[name] for row in rows]) for name in ("acting_success_rate", "acting_mean_return"))
    else:
        success, returns = evidence.success.astype(float), evidence.returns
    ordered = np.sign(success[:, None] - success[None])
    if not ordered.any():
        return unknown("reward", "All episodes had the same success, so the return cannot be compared with it.")
    agreement = float((ordered * np.sign(returns[:, None] - returns[None])).sum() / np.abs(ordered).sum())
    return finding(
        "reward",
        agreement < LOOSE,
        f"rank agreement of success and return: {agreement:+.2f} (-1 to +1)",
        "Successful episodes have higher returns.",
        "Successful episodes hardly have higher returns, so the learner optimises something else than success: check the "
        f"reward, or judge by the return, {to_type('measured_by', 'return')}.",
        agreement=agreement,
    )


def _goal(evidence: Evidence) -> Finding:
    """Return whether critics and base see the goal."""
    if evidence.predicted is None:
        return unknown("goal", NO_CRITIC)
    if evidence.goal_values is None:
        return unknown(
            "goal", "The environment has no goals: everything that changes between episodes must be in the observation."
        )
    goals = evidence.rows.observation["desired_goal"][evidence.starts]
    if len(goals) < 2 or (goals == goals[0]).all():
        return unknown("goal", "All recent episodes had the same goal.")
    critics = _share(float(evidence.goal_values.std(axis=1).mean()), float(evidence.predicted.std()))
    measured, numbers = f"values change {critics:.2f} times as much with the goal as with the state", {"critics": critics}
    if evidence.goal_base_actions is not None:
        numbers["base"] = float(np.ptp(evidence.goal_base_actions, axis=1).max(axis=1).astype(bool).mean())
        measured += f"; the base's action changes with the goal in {numbers['base']:.0%} of the states"
    return finding(
        "goal",
        critics < FLAT,
        measured,
        "The critics see the goal.",
        "The critics do not see the goal, or cannot tell goals apart: check that the goal is in the observation, and in units "
        "in which goals differ by more than 0.01.",
        **numbers,
    )


def _action(config: Config, evidence: Evidence) -> Finding:
    """Return whether the critics are sensitive to the action, by more than they disagree."""
    if evidence.predicted is None or evidence.residual_values is None or evidence.disagreement is None:
        return unknown("action", NO_CRITIC)
    effect = float(evidence.residual_values.std(axis=1).mean())
    share = _share(effect, float(evidence.predicted.std()))
    doubt = _share(float(evidence.disagreement.mean()), effect)
    return finding(
        "action",
        share < FLAT or doubt > 1.0,
        f"values change {share:.3f} times as much with the residual as with the state; the critics disagree about that change "
        f"by {doubt:.2f} times its size",
        "The critics tell actions apart.",
        "The critic is flat in the action, so the actor has no gradient to follow: give the residual a larger effect, "
        f"{_scale_line(config, 2.0)}, or train longer.",
        ratio=share,
        disagreement=doubt,
    )


def _value(evidence: Evidence) -> Finding:
    """Return whether the value is calibrated."""
    if evidence.predicted is None:
        return unknown("value", NO_CRITIC)
    predicted, followed = evidence.predicted[evidence.early], evidence.followed[evidence.early]
    spread, bias = float(followed.std()), float((predicted - followed).mean())
    if spread == 0.0:
        return unknown("value", "The discounted return is the same everywhere, so predictions cannot be tested.")
    correlation = 0.0
    if predicted.std() > 0:
        correlation = float(np.corrcoef(predicted, followed)[0, 1])
    if correlation < LOOSE:
        warning = "The critics' predictions hardly correlate with the returns: train longer, or make more updates per step."
    elif bias > 0:
        warning = "The critics overestimate the returns: lower their learning rate, or use more critics or more caution."
    else:
        warning = "The critics underestimate the returns, since they lag behind: train longer, or raise target_rate."
    return finding(
        "value",
        correlation < LOOSE or abs(bias) > spread,
        f"correlation of predicted and actual discounted returns {correlation:.2f}, bias {bias:+.3g}, standard deviation of "
        f"the returns {spread:.3g}",
        "The critics predict the returns.",
        warning,
        correlation=correlation,
        bias=bias,
        spread=spread,
    )


def _preference(evidence: Evidence, metrics: Rows) -> Finding:
    """Return how often the residual acts, and whether the critics prefer it when it does."""
    acts = (evidence.residual != 0.0).any(axis=1)
    share, never = float(acts.mean()), 1.0 - float(np.mean(np.logical_or.reduceat(acts, evidence.starts)))
    prefers_base = np.zeros(len(acts), dtype=bool) if evidence.advantage is None else evidence.advantage < 0
    against = float(prefers_base[acts].mean()) if acts.any() else 0.0
    measured = f"the residual acts in {share:.1%} of the steps, and never in {never:.1%} of the episodes"
    if acts.any() and evidence.advantage is not None:
        measured += f"; in {against:.1%} of these steps the critics prefer the base"
    if metrics and metrics[-1]["burn_in"]:
        warning = "The actor has not begun to learn, because burn-in is not over: train longer, or shorten burn-in."
    elif 1.0 - never < RARELY:
        warning = "The policy is the base almost everywhere: train longer, explore more, or lower the caution of the gate."
    else:
        warning = "The critics prefer the base to what the actor does, so the actor lags behind them: raise its learning rate."
    return finding(
        "preference",
        1.0 - never < RARELY or against > 0.5,
        measured,
        "The residual acts, and the critics prefer it when it does.",
        warning,
        steps=share,
        episodes_without=never,
        against=against,
    )


def _size(config: Config, evidence: Evidence) -> Finding:
    """Return how large the residual is beside the base."""
    base = evidence.rows.base_action.clip(-1.0, 1.0)
    if not _adds(config, evidence):
        return unknown("size", "There is no base to which anything is added.")
    change = float(np.abs(config.algorithm.composition.action(evidence.rows.base_action, evidence.residual) - base).mean())
    ratio = _share(change, float(np.abs(base).mean()))
    idle = change < IDLE
    return finding(
        "size",
        idle or ratio > 1.0,
        f"the policy changes the action by {change:.3f} on average, {ratio:.2f} times the size of the base's action",
        "The residual corrects the base.",
        f"The policy does what the base does: see `preference`, or give the residual more room, {_scale_line(config, 2.0)}."
        if idle
        else f"The policy overrides the base instead of correcting it: use a smaller scale, {_scale_line(config, 0.5)}.",
        change=change,
        ratio=ratio,
    )


def _clipping(config: Config, evidence: Evidence) -> Finding:
    """Return how often the sum is clipped."""
    composition, rows = config.algorithm.composition, evidence.rows
    acting = rows.residual != 0.0  # in training, where every component is tried
    if not acting.any():
        return unknown("clipping", "No residual acted in the latest training episodes.")
    wanted = composition.unclipped(rows.base_action, rows.residual)
    share = float((np.abs(wanted) > 1.0 + 1e-6)[acting].mean())
    bound = float((np.abs(composition.alone(rows.base_action)) >= 1.0).mean())
    return finding(
        "clipping",
        share > OFTEN,
        f"{share:.1%} of the entries of base plus residual are clipped; {bound:.1%} of the base's are at a bound",
        "The residual is hardly clipped.",
        "Much of the residual is clipped, so the actor learns from actions that were never taken: keep the base away from its "
        f"bounds, or use a smaller scale, {_scale_line(config, 0.5)}.",
        clipped=share,
        base_at_bound=bound,
    )


def _controller(config: Config, evidence: Evidence) -> Finding:
    """Return whether the controller undoes the residual."""
    rows = evidence.rows
    base = rows.base_action.clip(-1.0, 1.0).astype(np.float64)
    applied = rows.action - base
    if not _adds(config, evidence):
        return unknown("controller", "There is no base that could undo the residual.")
    if np.abs(applied).mean() < IDLE:
        return unknown("controller", "Hardly any residual acted in the latest training episodes.")
    change = rows.next_base_action.clip(-1.0, 1.0) - base
    # The base's own change depends on its action; regressing on the base action too removes it.
    causes = np.stack([(column - column.mean(axis=0)).ravel() for column in (-applied, base)], axis=1)
    effect = (change - change.mean(axis=0)).ravel()
    share = float(np.linalg.lstsq(causes, effect, rcond=None)[0][0])
    return finding(
        "controller",
        share > TAKEN_BACK,
        f"the controller's next action undoes {share:+.0%} of a residual",
        "The controller does not undo the residual.",
        "The controller undoes the residual before it has an effect: lower the controller's gain, or let the residual move its "
        "target instead of its output.",
        taken_back=share,
    )


def _scale_line(config: Config, factor: float) -> str:
    return to_type(SCALE, scaled(config, factor))


def _adds(config: Config, evidence: Evidence) -> bool:
    """Return whether the residual is added to a base other than zero."""
    return bool(config.algorithm.composition.alone(evidence.rows.base_action).any())


def _acted(evidence: Evidence) -> np.ndarray:
    """Return whether a residual acted in an episode of training: `[E]` bool."""
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
