"""The library's functions: `improve` a controller; `evaluate`, `compare`, `diagnose`, `load` or `export` the result.

The command line does the same for tasks, environments and controllers that are given by a name or a file.
"""

from residual_rl.api.delivering import diagnose, export, load
from residual_rl.api.evaluating import Baseline, compare, evaluate
from residual_rl.api.improving import configure, improve

__all__ = ["Baseline", "compare", "configure", "diagnose", "evaluate", "export", "improve", "load"]
