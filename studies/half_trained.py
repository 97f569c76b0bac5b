"""Train PPO of Stable-Baselines3 for a short time and store its policy, a base of the study `proof`.

python studies/half_trained.py [Hopper-v5] [--steps 40960]
"""

import argparse

from residual_rl.studies.worlds.locomotion import make_ppo, policy_path


def main() -> None:
    """Train with seed 0, one environment and the default settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="Hopper-v5")
    parser.add_argument("--steps", type=int, default=40_960)
    arguments = parser.parse_args()
    model = make_ppo(arguments.name, seed=0)
    model.learn(arguments.steps)
    from safetensors.torch import save_file

    save_file(model.policy.state_dict(), policy_path(arguments.name))
    print(policy_path(arguments.name))


if __name__ == "__main__":
    main()
