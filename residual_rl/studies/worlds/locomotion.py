"""A Stable-Baselines3 policy whose training was stopped early; `python studies/half_trained.py` makes its file."""

from pathlib import Path
from typing import Any

import gymnasium

from residual_rl.errors import ResidualRLError
from residual_rl.optional import need

FOLDER = Path(__file__).parent


def policy_path(name: str) -> Path:
    """Return the path of the stored policy for a Gymnasium id."""
    return FOLDER / f"{name}.safetensors"


def make_ppo(name: str, seed: int | None = None) -> Any:
    """Return PPO with Stable-Baselines3's defaults, on one thread, since trials run in parallel."""
    purpose = "proof", "policies of Stable-Baselines3"
    need("torch", *purpose).set_num_threads(1)
    return need("stable_baselines3", *purpose).PPO("MlpPolicy", gymnasium.make(name), seed=seed, device="cpu")


def load_half_trained(name: str) -> Any:
    """Return the model with the stored policy. The file has only arrays; nothing in it is executed.

    Raises:
        ResidualRLError: the file is missing.
    """
    if not policy_path(name).exists():
        raise ResidualRLError(f"there is no {policy_path(name)}: python studies/half_trained.py {name} makes it")
    model = make_ppo(name)
    from safetensors.torch import load_file  # only after the check that torch is installed

    model.policy.load_state_dict(load_file(policy_path(name)))
    return model
