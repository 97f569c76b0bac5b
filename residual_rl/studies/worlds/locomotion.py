"""A Stable-Baselines3 policy that was trained for a short while: `python studies/half_trained.py` makes the file."""

from pathlib import Path
from typing import Any

import gymnasium

from residual_rl.errors import ResidualRLError
from residual_rl.optional import need

FOLDER = Path(__file__).parent


def stored(name: str) -> Path:
    """Where the policy for a Gymnasium id is."""
    return FOLDER / f"{name}.safetensors"


def untrained(name: str, seed: int | None = None) -> Any:
    """PPO as Stable-Baselines3 sets it up, on one thread: trials run side by side."""
    purpose = "proof", "policies of Stable-Baselines3"
    need("torch", *purpose).set_num_threads(1)
    return need("stable_baselines3", *purpose).PPO("MlpPolicy", gymnasium.make(name), seed=seed, device="cpu")


def half_trained(name: str) -> Any:
    """The model whose policy is the stored one. The file holds arrays, and nothing that is executed.

    Raises:
        ResidualRLError: there is no file.
    """
    if not stored(name).exists():
        raise ResidualRLError(f"there is no {stored(name)}: python studies/half_trained.py {name} makes it")
    model = untrained(name)
    from safetensors.torch import load_file  # not before it is known that torch is there

    model.policy.load_state_dict(load_file(stored(name)))
    return model
