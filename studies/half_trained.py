"""Trains PPO of Stable-Baselines3 for a short while, and keeps its policy: a base of the study `proof`, not bad and not good.

python studies/half_trained.py [Hopper-v5] [--steps 40960]
"""

import argparse

from residual_rl.studies.worlds.locomotion import stored, untrained


def main() -> None:
    """Trains with seed 0, one environment, and the library's own settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="Hopper-v5")
    parser.add_argument("--steps", type=int, default=40_960)
    arguments = parser.parse_args()
    model = untrained(arguments.name, seed=0)
    model.learn(arguments.steps)
    from safetensors.torch import save_file

    save_file(model.policy.state_dict(), stored(arguments.name))
    print(stored(arguments.name))


if __name__ == "__main__":
    main()
