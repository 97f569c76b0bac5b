"""Every algorithm by its name."""

from residual_rl.learning.algorithm import Algorithm
from residual_rl.learning.ddpg import DDPG
from residual_rl.learning.gated_ddpg import GatedDDPG

ALGORITHMS: dict[str, type[Algorithm]] = {"gated-ddpg": GatedDDPG, "ddpg": DDPG}
"""A new algorithm is a row here. `Config` validates an algorithm by its `name`."""

DEFAULT = GatedDDPG
