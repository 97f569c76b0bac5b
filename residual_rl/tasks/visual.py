"""Worlds that are seen through a camera: Gymnasium environments whose observations are images and proprioception.

| entry | shape, type | |
|---|---|---|
| `image` | [size, size, 3 x channels] uint8 | the last three frames along the channels, the oldest first |
| `proprioception` | [P] float64 | the robot's own sensors |

In an episode's first steps its first frame is repeated. Actions lie in [-1, 1].

Source: Alakuijala et al. 2021, sections III and IV.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from residual_rl.errors import ResidualRLError
from residual_rl.tasks.ending import EndingVectorEnv, EndingWorld, StepReward, reward_success
from residual_rl.tasks.gymnasium_envs import State
from residual_rl.types import Spec, select

FRAMES = 3
"""Frames in an observation, the current one included."""
SIZE = 84
"""Pixels of an edge. Published: 240, of which a policy sees 224."""
PICTURE = 480
"""Pixels of an edge of the pictures for people."""


class SeenWorld(EndingWorld, Protocol):
    """A world that a camera sees."""

    proprioception_size: int

    def proprioception(self, state: State) -> np.ndarray:
        """Return the robot's own sensors `[E, P]`."""
        ...

    def take(self, eye: "Eye", state: State, lanes: np.ndarray, out: np.ndarray) -> None:
        """Write pictures of some lanes `[L]` of a state into `out` `[L, size, size, channels]`."""
        ...

    def camera(self, size: int) -> "Eye":
        """Return the camera that the policy sees through, for pictures of `size` pixels."""
        ...

    def onlooker(self, size: int) -> "Eye":
        """Return a camera that shows the scene to people, in colour."""
        ...


class Eye(Protocol):
    """A camera of a world."""

    size: int
    channels: int


class VisualVectorEnv(gymnasium.vector.VectorEnv):
    """All lanes of a world, stepped together and seen through one camera.

    The `info` of a reset and a step holds `state` `[E, O]`, the observation of the same task from state, for experts that act
    on it; that of a step also `is_success` `[E]` bool and the signals of the world.

    Args:
        world: the physics.
        num_envs: number of lanes E.
        size: pixels of an edge of the image.
        reward: of a step, from its info.
        autoreset_mode: NEXT_STEP, or DISABLED: a lane that has ended then repeats its last observation until it is reset.
        max_episode_steps: length of an episode at most; None for the task's horizon.

    Raises:
        ResidualRLError: there is no OpenGL; the message names what to install.
    """

    world: SeenWorld

    def __init__(
        self,
        world: SeenWorld,
        num_envs: int = 1,
        *,
        size: int = SIZE,
        reward: StepReward = reward_success,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
    ):
        if not 8 <= size <= 2048:
            raise ResidualRLError(f"an image may have 8 to 2048 pixels an edge, not {size}")
        self.world = world
        self.eye = world.camera(size)
        self._inner = EndingVectorEnv(world, reward, num_envs, autoreset_mode, max_episode_steps)
        self.num_envs = num_envs
        self.metadata = self._inner.metadata
        self.single_observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (size, size, FRAMES * self.eye.channels), np.uint8),
                "proprioception": spaces.Box(-np.inf, np.inf, (world.proprioception_size,), np.float64),
            }
        )
        self.single_action_space = self._inner.single_action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = self._inner.action_space
        self._image = np.zeros((num_envs, size, size, FRAMES * self.eye.channels), np.uint8)
        self._over = np.zeros(num_envs, dtype=bool)

    @property
    def state(self) -> State:
        """The state of the episodes, as the world's own `step` takes and returns it."""
        return self._inner.state

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start new episodes, in all lanes or in those of `options["reset_mask"]` (`[E]` bool); seeds as in the other tasks."""
        observation, _ = self._inner.reset(seed=seed, options=options)
        started = (options or {}).get("reset_mask", np.ones(self.num_envs, dtype=bool))
        self._image = self._image.copy()
        self._see(np.flatnonzero(started), first=True)
        self._over[started] = False
        return self._shown(), {"state": observation["observation"]}

    def step(self, actions: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Apply one action `[E, A]` in every lane; values beyond the action space are clipped to it.

        Raises:
            ResetNeeded: there was no reset yet.
        """
        _, reward, terminated, truncated, info = self._inner.step(actions)
        held = self._over if self.metadata["autoreset_mode"] == AutoresetMode.DISABLED else np.zeros(self.num_envs, dtype=bool)
        self._image = self._image.copy()
        self._see(np.flatnonzero(~self._over), first=False)
        self._see(np.flatnonzero(self._over & ~held), first=True)
        self._over = terminated | truncated
        info["state"] = info.pop("observation")
        return self._shown(), reward, terminated, truncated, info

    def _see(self, lanes: np.ndarray, first: bool) -> None:
        """Take a picture of some lanes; with `first` it fills the history."""
        if not len(lanes):
            return
        channels, state = self.eye.channels, self._inner.state
        image = self._image[lanes]
        image[..., :-channels] = image[..., channels:]
        self.world.take(self.eye, state, lanes, image[..., -channels:])
        if first:
            image[:] = np.tile(image[..., -channels:], FRAMES)
        self._image[lanes] = image

    def _shown(self) -> dict[str, np.ndarray]:
        return {"image": self._image, "proprioception": self.world.proprioception(self._inner.state)}

    def close_extras(self, **kwargs: Any) -> None:
        """End the physics threads."""
        self._inner.close()


class VisualEnv(gymnasium.Env):
    """A single environment, a batch of one, as `gymnasium.make` returns it. Gymnasium's own time limit cuts episodes."""

    def __init__(self, world: SeenWorld, render_mode: str | None = None, rate: float = 20.0, **arguments: Any):
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": rate}
        self.render_mode = render_mode
        self._envs = VisualVectorEnv(world, 1, autoreset_mode=AutoresetMode.DISABLED, max_episode_steps=1 << 62, **arguments)
        self.observation_space = self._envs.single_observation_space
        self.action_space = self._envs.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a new episode."""
        super().reset(seed=seed)
        observation, info = self._envs.reset(seed=None if seed is None else [seed])
        return select(observation, 0), _of_lane(info)  # type: ignore[arg-type]

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Apply one action `[A]` in [-1, 1]; the info is that of `VisualVectorEnv`, without its axis of lanes."""
        observation, reward, terminated, truncated, info = self._envs.step(np.asarray(action)[None])
        shown: Any = select(observation, 0)  # type: ignore[arg-type]
        return shown, float(reward[0]), bool(terminated[0]), bool(truncated[0]), _of_lane(info)

    def render(self) -> Any:
        """Return the picture that the policy sees now beside one for people: `[480, 960, 3]` uint8."""
        if self.render_mode != "rgb_array":
            raise ResidualRLError("pictures need render_mode='rgb_array'")
        world, state = self._envs.world, self._envs.state
        shown = np.empty((1, PICTURE, PICTURE, 3), np.uint8)
        world.take(world.onlooker(PICTURE), state, np.arange(1), shown)
        channels = self._envs.eye.channels
        seen = self._envs._image[0, ..., -channels:]
        rows = np.arange(PICTURE) * len(seen) // PICTURE
        return np.concatenate([np.broadcast_to(seen[rows][:, rows], shown[0].shape), shown[0]], axis=1)

    def close(self) -> None:
        """End the physics threads."""
        self._envs.close()


def _of_lane(info: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {name: value[0].item() if value.ndim == 1 else value[0] for name, value in info.items()}


@dataclass(frozen=True)
class VisualTask:
    """A task seen through a camera. Its world is that of a task from state."""

    name: str
    summary: str
    gymnasium_id: str
    spec: Spec
    """Of the same task from state."""
    state_task: str
    """The name of that task."""
    make_world: Callable[[int | None], Any]
    """Makes the world with a number of physics threads (None: one per core)."""
    rate: float
    """Steps per second, in Hz."""

    def make_envs(self, num_envs: int = 1, *, num_threads: int | None = None, **arguments: Any) -> VisualVectorEnv:
        """Return a vector environment; further arguments are `VisualVectorEnv`'s."""
        return VisualVectorEnv(self.make_world(num_threads), num_envs, **arguments)

    def make_env(self, **arguments: Any) -> VisualEnv:
        """Return a single environment, without its time limit (`gymnasium.make` adds that); arguments as for `make_envs`."""
        return VisualEnv(self.make_world(1), rate=self.rate, **arguments)

    def register(self) -> None:
        """Register this task with Gymnasium, as a single and as a vector environment."""
        gymnasium.register(
            self.gymnasium_id,
            entry_point=self.make_env,  # type: ignore[arg-type]
            vector_entry_point=self.make_envs,  # type: ignore[arg-type]
            max_episode_steps=self.spec.horizon,
        )
