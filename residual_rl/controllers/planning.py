"""Controllers that plan: they try moves in a simulator of their own before they propose one."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from residual_rl.optional import WORLDS, need
from residual_rl.tasks.rules import GRIPPER_POSITION, OBJECT_POSITION
from residual_rl.tasks.variants import PUSH, BlockScene
from residual_rl.types import Observation

if TYPE_CHECKING:
    from residual_rl.tasks.block import BlockWorld
    from residual_rl.tasks.fetch import State

MOVES = np.array([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]])
"""[6, 3] one step along one axis, in the order in which they are tried."""
STAY = -1
"""In place of a move's index: the best node is the root."""
UNREACHABLE = 2**62
"""The estimate of a state that the simulator could not compute."""


@dataclass(frozen=True)
class DiscreteMPC:
    """Searches best-first over moves along one axis, simulating each, and proposes the first move towards the best state found.

    Its model is exact, and still it fails about half of the time: ten expansions do not see round the block, the moves are
    coarse, and states in which the block lies nearer to its goal by 0.1 mm outrank any in which only the hand is better placed.
    All episodes' expansions of one round go to the physics in one call, without the moves that the search before has tried from
    the very same state. An episode's search ends as soon as the expansions that are left cannot change its first move. On Push
    the former saves a third of the simulations if only the planner moves the hand, and the latter two fifths if something else
    moves it too (`studies/planner.py`).

    Each proposal is a full move on one axis, or nothing. Moves are 5 cm on Push and on MPCPush alike, where a proposal of 1
    is multiplied by 10 and clipped. On a task whose physics is not `scene`'s, such as SlipperyPush, its model is wrong.

    Source: Silver et al. 2018, section V-B1; constants from the code published with it.
    Differs: the older of two equally promising nodes is expanded first, while the original draws lots, because a controller has
    to answer the same to the same observation.
    Differs: a node's whole state is restored; the original restores positions and velocities, but this costs nothing.
    """

    expansions: int = 10
    """Nodes whose moves are tried, for each proposal."""
    move: float = 1.0
    """Action component of a move: 1 is 5 cm, as far as one step can command."""
    block_width: float = 0.1
    """m. The push position lies half of it behind the block's centre, as seen from the goal. The block is 0.05 m wide."""
    height_offset: float = 0.005
    """m from the block's centre up to the push position."""
    resolution: float = 1e-4
    """m. Distances are compared in whole multiples of it; being one move later counts like one of them."""
    scene: BlockScene = PUSH
    """The world in which it plans."""
    num_threads: int | None = None
    """Physics threads; None for one on each core. Proposals do not depend on it."""

    reads_goal = True
    reads_state = True
    can_be_requeried = False

    @cached_property
    def world(self) -> "BlockWorld":
        """The simulator, made when it is first needed."""
        return need("residual_rl.tasks.block", *WORLDS).BlockWorld(self.scene, self.num_threads)

    @cached_property
    def _cached_step(self) -> "StepCache":
        return StepCache(self._simulate)

    def __call__(self, observation: Observation) -> np.ndarray:
        """`Observation[B] -> base_action [B, 4]`, each in {-move, 0, move}.

        Raises:
            ValueError: the observation holds no state, or that of another model.
        """
        physics = observation.get("state")
        if physics is None:
            raise ValueError("it plans from the simulator's state, which is shown by environments made with_state=True")
        size = self.world.arm.physics.state_size
        if physics.shape[1] != size:
            raise ValueError(f"its model has a state of {size} numbers; the one it was shown has {physics.shape[1]}")

        def estimate(states: np.ndarray, episodes: np.ndarray) -> np.ndarray:
            return self.estimate(states, observation["desired_goal"][episodes])

        root = _packed(self.world.arm.at(physics))
        self._cached_step.forget()
        first = best_first_search(root, MOVES, self.step, estimate, self.expansions)
        action = np.zeros((len(first), self.world.spec.action_size))
        action[first != STAY, :3] = self.move * MOVES[first[first != STAY]]
        return action

    def step(self, states: np.ndarray, moves: np.ndarray) -> np.ndarray:
        """Return the packed states `[N, R]` after one move `[N, 3]` from each of the packed states `[N, R]`."""
        return self._cached_step(states, moves)

    def _simulate(self, states: np.ndarray, moves: np.ndarray) -> np.ndarray:
        action = np.zeros((len(moves), self.world.spec.action_size))
        action[:, :3] = self.move * moves
        return _packed(self.world.step(self._unpacked(states), action))

    def estimate(self, states: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Return how far packed states `[N, R]` are from `goal` `[N, 3]`, in multiples of the resolution: `[N, 2]` int.

        The first number is the block's distance from the goal on the table, the second the gripper's from the push position.
        """
        shown = self.world.observe(self._unpacked(states), goal)["observation"]
        gripper, block = shown[:, GRIPPER_POSITION], shown[:, OBJECT_POSITION]
        block_to_goal = (goal - block)[:, :2]
        block_distance = np.linalg.norm(block_to_goal, axis=1)
        push_position = block + np.array([0.0, 0.0, self.height_offset])
        push_position[:, :2] -= 0.5 * self.block_width * block_to_goal / np.maximum(block_distance, 1e-12)[:, None]
        distances = np.stack([block_distance, np.linalg.norm(push_position - gripper, axis=1)], axis=1)
        multiples = np.floor(distances / self.resolution)
        return np.where(np.isfinite(multiples), multiples, UNREACHABLE).astype(np.int64)

    def _unpacked(self, states: np.ndarray) -> "State":
        size = self.world.arm.physics.state_size
        return need("residual_rl.tasks.fetch", *WORLDS).State(states[:, :size], states[:, size:])

    def close(self) -> None:
        """End the simulator's threads, if it has any; the next call makes new ones."""
        if "world" in self.__dict__:
            self.world.close()
            del self.__dict__["world"]
        self.__dict__.pop("_cached_step", None)


class StepCache:
    """A simulator's step with a cache of the results since the last `forget` but one."""

    def __init__(self, step: Callable[[np.ndarray, np.ndarray], np.ndarray]):
        self.step = step
        """States `[N, R]`, moves `[N, D]` -> states `[N, R]`; each row must depend on nothing but its own state and move."""
        self._now: dict[bytes, np.ndarray] = {}
        self._before: dict[bytes, np.ndarray] = {}

    def forget(self) -> None:
        """Drop the results that were not used since the previous call of this method."""
        self._before, self._now = self._now, {}

    def __call__(self, states: np.ndarray, moves: np.ndarray) -> np.ndarray:
        """Return the result of `step`."""
        keys = [state.tobytes() + move.tobytes() for state, move in zip(states, moves, strict=True)]
        for key in keys:
            if key in self._before:
                self._now[key] = self._before[key]
        new = {key: row for row, key in enumerate(keys) if key not in self._now}
        if new:
            rows = list(new.values())
            self._now.update(zip(new, self.step(states[rows], moves[rows]), strict=True))
        return np.stack([self._now[key] for key in keys])


def _packed(state: "State") -> np.ndarray:
    """Return each state as one row: `[N, R]`."""
    return np.concatenate(state, axis=1)


class Node(NamedTuple):
    """The end of a path of moves. Nodes compare by cost, and by age if costs are equal."""

    cost: tuple[int, int]
    """The estimate, with the path's length added to its second number."""
    number: int
    """Counts the nodes of all episodes; also the row in which its state lies."""
    depth: int
    """Moves on the path."""
    displacement: tuple[int, ...]
    """Sum of these moves."""
    first: int
    """Index of the first of them; STAY at the root."""


class Tree:
    """The search in one episode: its frontier, the displacements that were tried, and the best node so far."""

    def __init__(self, root: Node):
        self.best = root
        self._frontier = [root]
        self._tried: set[tuple[int, ...]] = set()  # without the root's, to which a path may return once, as in the original

    def expand(self, moves: list[list[int]]) -> Iterator[tuple[Node, int, tuple[int, ...]]]:
        """Yield the moves from the best node that lead to a new displacement: node, index of the move, displacement."""
        if not self._frontier:
            return
        node = heapq.heappop(self._frontier)
        for index, move in enumerate(moves):
            displacement = tuple(map(sum, zip(node.displacement, move, strict=True)))
            if displacement not in self._tried:
                self._tried.add(displacement)
                yield node, index, displacement

    def is_decided(self, expansions: int) -> bool:
        """Return whether so many more expansions cannot change the first move: all nodes that they could expand share it."""
        if self.best.first == STAY:
            return False
        return all(node.first == self.best.first for node in heapq.nsmallest(expansions, self._frontier))

    def add(self, node: Node) -> None:
        """Add the node at which a move ended."""
        heapq.heappush(self._frontier, node)
        if node.cost <= self.best.cost:
            self.best = node


def best_first_search(
    root: np.ndarray,
    moves: np.ndarray,
    step: Callable[[np.ndarray, np.ndarray], np.ndarray],
    estimate: Callable[[np.ndarray, np.ndarray], np.ndarray],
    expansions: int,
) -> np.ndarray:
    """Return the first move towards the best state found from each root `[B, R]`: indices `[B]`, STAY if none is better.

    Each episode has its own search, whose nodes are expanded in the order of their cost; the moves of all episodes in one round
    are simulated together. The best node has the lowest cost; among equals it is the youngest. An episode whose first move is
    certain takes no part in further rounds.

    Args:
        root: the states to start from.
        moves: `[M, D]` whole numbers.
        step: states `[N, R]`, moves `[N, D]` -> states `[N, R]`.
        estimate: states `[N, R]`, the episodes `[N]` that they belong to -> `[N, 2]` whole numbers, less being better, the
            first counting before the second.
        expansions: rounds at most.
    """
    states = root
    costs = estimate(root, np.arange(len(root))).tolist()
    nowhere = (0,) * moves.shape[1]
    trees = [Tree(Node((one, other), row, 0, nowhere, STAY)) for row, (one, other) in enumerate(costs)]
    for left in range(expansions, 0, -1):
        searched = [(episode, tree) for episode, tree in enumerate(trees) if not tree.is_decided(left)]
        tried = [(episode, *trial) for episode, tree in searched for trial in tree.expand(moves.tolist())]
        if not tried:  # in this round; the next node may have moves left
            continue
        episodes, parents, indices, _ = zip(*tried, strict=True)
        after = step(states[[parent.number for parent in parents]], moves[list(indices)])
        costs = estimate(after, np.array(episodes)).tolist()
        number = len(states)
        for (episode, parent, index, displacement), (one, other) in zip(tried, costs, strict=True):
            depth = parent.depth + 1
            first = index if parent.first == STAY else parent.first
            trees[episode].add(Node((one, other + depth), number, depth, displacement, first))
            number += 1
        states = np.concatenate([states, after])
    return np.array([tree.best.first for tree in trees], dtype=int)
