"""An opened user-supplied environment: its name, time limit and spaces, and lanes of it."""

import gymnasium

from residual_rl.controllers.resolve import Base, on_features
from residual_rl.custom.description import Description
from residual_rl.custom.goals import NO_GOALS, goals_of
from residual_rl.custom.sources import AnyEnv, ForeignLanes, source_of
from residual_rl.custom.success import LAST
from residual_rl.custom.task import CustomTask
from residual_rl.encoders.encoder import NO_FEATURES, Encoder, shares_body
from residual_rl.encoders.perception import check_goals, encoded, images_in, refusal
from residual_rl.errors import ResidualRLError, WorldError
from residual_rl.spaces import layout_of
from residual_rl.types import Spec

ASKED_SEED = 0  # of the episode in which hindsight computes rewards; it is never stepped
LONGEST = 5_000
"""Steps in which the first episodes must end if no horizon is given."""


class Opened:
    """A user-supplied environment, before the number of lanes is known. It must be closed.

    Raises:
        UnknownName: an id that neither the library nor Gymnasium knows.
        EncoderError: it shows images and no encoder was passed, or the encoder returns no features.
        ResidualRLError: it cannot be made, or its spaces cannot work; says why.
    """

    def __init__(
        self,
        env: AnyEnv,
        horizon: int | None = None,
        processes: bool = False,
        encoder: Encoder | None = None,
        stored: int = 0,
    ):
        """Open an environment that is seen through an encoder, if there is one, to store so many transitions of it."""
        if horizon is not None and horizon < 1:
            raise ResidualRLError(f"horizon must be at least 1, not {horizon}")
        self._source = source_of(env, processes)
        self.name = self._source.name
        try:
            self.layout = layout_of(*self._source.spaces)
            if encoder is None and images_in((*self.layout.observation, *self.layout.goal)):
                if stored:
                    check_goals(self.layout)
                    raise refusal(self.layout, stored)
                encoder = NO_FEATURES  # nothing is learned, and a controller needs only the environment's observation
            if encoder is not None:
                if stored:
                    check_goals(self.layout)
                self.layout = encoded(self.layout, encoder)
        except ResidualRLError as error:
            self.close()
            raise type(error)(f"{self.name} cannot be used: {error}") from None
        self.encoder = encoder
        """What turns what it shows into features; None if the learner sees what it shows."""
        limits = [each for each in (horizon, self._source.time_limit) if each is not None]
        self.horizon = min(limits, default=None)
        """Steps after which an episode is cut; None if only its first episodes can show it."""

    @property
    def one(self) -> gymnasium.Env | None:
        """One of the environments, for rewards at other goals; None if none is accessible."""
        return self._source.one

    @property
    def running_statistics(self) -> str | None:
        """Name of a wrapper around it with running statistics; None if there is none."""
        return self._source.running_statistics

    @property
    def fixed_lanes(self) -> int | None:
        """The number of lanes if it is fixed, else None."""
        return self._source.num_lanes

    @property
    def spec(self) -> Spec:
        """The spec as far as it is known before the first episode: without the range of rewards."""
        layout = self.layout
        return Spec(layout.observation_size, layout.goal_size, layout.action_size, self.horizon or LONGEST)

    def seen_by(self, base: Base) -> Base:
        """The base as it is asked here: with the features, if the encoder is its own."""
        return on_features(base) if shares_body(base.controller, self.encoder) else base

    def few_lanes(self, success: str = LAST) -> ForeignLanes:
        """As few lanes as there can be, to look at; observations as the environment shows them."""
        return self._source.few_lanes(self.layout, self.spec, success, self.encoder)

    def task(self, about: Description, lanes: int) -> CustomTask:
        """Return the task of a description, with so many lanes.

        Raises:
            ResidualRLError: the number of lanes is fixed, and is another one.
        """
        findings = about.findings
        goals = NO_GOALS if findings.goal_rules is None else goals_of(self._asked(), about.layout, findings.goal_rules)
        if self.fixed_lanes not in (None, lanes):
            raise ResidualRLError(f"{self.name} has {self.fixed_lanes} lanes: episodes_per_cycle must be that, not {lanes}")
        return CustomTask(
            name=self.name,
            spec=about.spec,
            layout=about.layout,
            shared_lanes=self._source.lanes(about.layout, about.spec, lanes, about.success, self.encoder),
            reward=goals.reward,
            success=goals.success,
            measured_by=findings.measured_by,
            reward_scale=findings.reward_scale,
            usual_value=findings.usual_value,
            episode_steps=findings.episode_steps,
        )

    def _asked(self) -> gymnasium.Env | None:
        """The environment in which hindsight computes rewards, reset once: in the same episode also after a resume."""
        asked = self._source.another()
        assert asked is not None  # or no rules would have been found
        try:
            asked.reset(seed=ASKED_SEED)
        except Exception as error:
            raise WorldError(f"{self.name}: reset raised {type(error).__name__}: {error}") from error
        return asked

    def close(self) -> None:
        """Close the environments that were made here; user-supplied instances stay open."""
        self._source.close()
