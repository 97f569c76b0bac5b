"""Improve a script that pushes a block in phases: `python examples/scripted_push.py`."""

from typing import Any

import numpy as np

import residual_rl

# --8<-- [start:controller]
UP = np.array([0.0, 0.0, 0.1])  # m


def push(observation: dict[str, np.ndarray]) -> np.ndarray:
    """Move above the block's far side, go down, push towards the goal: one observation -> `[4]`."""
    gripper, block = observation["observation"][0:3], observation["observation"][3:6]
    goal = observation["desired_goal"]

    to_goal = (goal - block)[:2]
    away = to_goal / max(float(np.linalg.norm(to_goal)), 1e-9)
    start = block - 0.08 * np.append(away, 0.0)  # 8 cm behind the block, as seen from the goal
    low = gripper[2] - block[2] < 0.03
    across = abs(away[0] * (gripper - block)[1] - away[1] * (gripper - block)[0])

    if np.linalg.norm(to_goal) < 0.03:
        move = np.zeros(3)
    elif low and across < 0.03 and (gripper - block)[:2] @ away < 0.0:
        move = 5.0 * np.append((goal - gripper)[:2], 0.0)
    elif np.linalg.norm((gripper - start)[:2]) < 0.03:
        move = 10.0 * (start - gripper)
    else:
        move = 10.0 * (start + UP - gripper)
    return np.append(move, 0.0)
    # --8<-- [end:controller]


def main(out: str = "runs/scripted-push", **budget: Any) -> None:
    """Improve the script."""
    # --8<-- [start:improve]
    run = residual_rl.improve("slippery-push", residual_rl.batched(push), out=out, **budget)
    print(run.verdict())
    # --8<-- [end:improve]


if __name__ == "__main__":
    main()
