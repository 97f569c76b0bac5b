"""Measure speed beside the fastest peers on the same machine: `residual-rl benchmark physics|learning|foreign`."""

from residual_rl.benchmarks.foreign import foreign
from residual_rl.benchmarks.learning import learning
from residual_rl.benchmarks.physics import physics
from residual_rl.benchmarks.tables import table

__all__ = ["foreign", "learning", "physics", "table"]
