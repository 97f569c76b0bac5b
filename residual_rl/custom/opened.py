"""An environment that somebody brings, opened: what it is called, how long it lasts, what its spaces are, and lanes of it."""

import gymnasium

from residual_rl.custom.goals import NO_GOALS, goals_of
from residual_rl.custom.sources import AnyEnv, ForeignLanes, source_of
from residual_rl.custom.task import CustomTask, Findings
from residual_rl.errors import ResidualRLError, WorldError
from residual_rl.spaces import layout_of
from residual_rl.types import Spec

ASKED_SEED = 0  # of the episode in which hindsight asks; nothing happens in it


class Opened:
    """An environment that was brought, before it is known how many lanes are needed. To be closed.

    Raises:
        UnknownName: an id that neither the library nor Gymnasium knows.
        ResidualRLError: it cannot be made, its spaces cannot work, or its episodes have no end; says why.
    """

    def __init__(self, env: AnyEnv, horizon: int | None = None, processes: bool = False):
        if horizon is not None and horizon < 1:
            raise ResidualRLError(f"horizon must be at least 1, not {horizon}")
        self._source = source_of(env, processes)
        self.name = self._source.name
        try:
            self.layout = layout_of(*self._source.spaces)
        except ResidualRLError as error:
            self.close()
            raise ResidualRLError(f"{self.name} cannot be used: {error}") from None
        limits = [each for each in (horizon, self._source.time_limit) if each is not None]
        if not limits:
            self.close()
            raise ResidualRLError(
                f"{self.name} has no time limit, and what a step is worth depends on it: pass horizon=, the steps after which "
                "an episode is cut"
            )
        self.horizon = min(limits)

    @property
    def one(self) -> gymnasium.Env | None:
        """One of the environments, to be asked about goals; None where none can be looked into."""
        return self._source.one

    @property
    def fixed_lanes(self) -> int | None:
        """How many lanes there are; None where there can be as many as one likes."""
        return self._source.num_lanes

    @property
    def spec(self) -> Spec:
        """What a learner knows about it; the range of its rewards is not yet known."""
        return Spec(self.layout.observation_size, self.layout.goal_size, self.layout.action_size, self.horizon)

    def few_lanes(self) -> ForeignLanes:
        """As few lanes as there can be, to look at."""
        return self._source.few_lanes(self.layout, self.spec)

    def task(self, findings: Findings, lanes: int) -> CustomTask:
        """The task, with so many lanes.

        Raises:
            ResidualRLError: there are not so many.
        """
        spec = self.spec._replace(reward_range=(-1.0, 0.0)) if findings.sparse else self.spec
        goals = NO_GOALS if findings.goal_rules is None else goals_of(self._asked(), self.layout, findings.goal_rules)
        if self.fixed_lanes not in (None, lanes):
            raise ResidualRLError(f"{self.name} has {self.fixed_lanes} lanes: episodes_per_cycle must be that, not {lanes}")
        return CustomTask(
            name=self.name,
            spec=spec,
            layout=self.layout,
            lanes=self._source.lanes(self.layout, spec, lanes),
            reward=goals.reward,
            success=goals.success,
            measured_by=findings.measured_by,
            reward_scale=findings.reward_scale,
            usual_value=findings.usual_value,
            episode_steps=findings.episode_steps,
        )

    def _asked(self) -> gymnasium.Env | None:
        """What hindsight asks about goals, reset once: always in the same episode, also in a run that goes on."""
        asked = self._source.another()
        assert asked is not None  # or no rules would have been found
        try:
            asked.reset(seed=ASKED_SEED)
        except Exception as error:
            raise WorldError(f"{self.name}: reset raised {type(error).__name__}: {error}") from error
        return asked

    def close(self) -> None:
        """Closes what was made here; what was brought stays open."""
        self._source.close()
