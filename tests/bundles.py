"""Bundles and runs as training would have left them, made without any."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from residual_rl.bundles import runtime
from residual_rl.bundles.bundle import TOLERANCE, probes, write_bundle
from residual_rl.config import Config
from residual_rl.learning.actor_critic import Networks
from residual_rl.learning.actors import Actor
from residual_rl.learning.ddpg import DDPG
from residual_rl.learning.gated_ddpg import GatedDDPG
from residual_rl.learning.normalizer import Normalizer
from residual_rl.policy import Residual
from residual_rl.presets import make_config
from residual_rl.residual import Composition
from residual_rl.types import Spec
from residual_rl.verdict import Side, Verdict

SPEC = Spec(observation_size=10, goal_size=3, action_size=4, horizon=50)
ROUNDING = TOLERANCE
"""How far two float32 computations of one action in [-1, 1] may differ.

Sums of up to 256 terms are added in another order by NumPy, JAX and ONNX, by another batch size and by another processor. That
moves an action by up to 2.1e-6 (docs/export.md); `export` itself allows 1e-5. A wrong term or weight moves it by 1e-3 or more.
"""
SIDE = Side(0.5, (0.4, 0.6), -30.0, 12.0, 0.0, 0.1)

ALGORITHMS = {
    "default": GatedDDPG(hidden=(32, 32), actors=(Actor(cautions=(0.5,)),)),
    "full-size": GatedDDPG(actors=(Actor(cautions=(0.5,)),)),
    "half-scale": GatedDDPG(hidden=(32, 16), actors=(Actor(cautions=(0.2,)),), composition=Composition(scale=0.5)),
    "base-not-clipped": GatedDDPG(
        hidden=(16,), num_critics=2, actors=(Actor(cautions=(0.2,)),), composition=Composition(clip_base=False)
    ),
    "base-seen": GatedDDPG(hidden=(32, 32), actors=(Actor(cautions=(0.5,)),), composition=Composition(actor_sees_base=True)),
    "residual-scored": GatedDDPG(
        hidden=(32, 32), actors=(Actor(cautions=(0.1,)),), composition=Composition(critic_scores="residual")
    ),
    "ungated": GatedDDPG(hidden=(16,), num_critics=2, actors=(Actor(cautions=(None,)),)),
    "published": DDPG(hidden=(32, 32)),
    "published-frames": DDPG(hidden=(32, 32), frames=2),
    "published-base-seen": DDPG(hidden=(32, 32), composition=Composition(scale=2.0, actor_sees_base=True)),
}


def made_residual(algorithm: Any, spec: Spec = SPEC) -> Residual:
    """One whose every parameter is as if it had learned something, without learning."""
    rng = np.random.default_rng(0)

    def drawn(path: Any, leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        name, fan_in = jax.tree_util.keystr(path), leaf.shape[-1]
        weight = name.endswith("weight") and "norms" not in name
        values = rng.normal(float("norms" in name), 1.2 / fan_in**0.5 if weight else 0.1, leaf.shape)
        return jax.numpy.asarray(values.astype(leaf.dtype))

    shapes = eqx.filter_eval_shape(lambda key: algorithm.init(spec, key).averaged, jax.random.key(0))
    actor, critics = jax.tree_util.tree_map_with_path(drawn, shapes[:2])
    mean, deviation = rng.normal(size=shapes.normalizer.mean.shape), rng.uniform(0.001, 3.0, shapes.normalizer.mean.shape)
    statistics = (np.float32(each) for each in (500.0, mean, 500.0 * deviation**2))
    return Residual(algorithm, Networks(actor, critics, Normalizer(*map(jax.numpy.asarray, statistics))))


def made_verdict(promoted: bool) -> Verdict:
    return Verdict("push", "mine", 20, SIDE, SIDE, 4, 1, 0.15, (0.01, 0.2), 0.04, promoted=promoted)


def made_config(algorithm: Any) -> Config:
    return make_config(task="push", controller="mine", algorithm=algorithm)


def made_bundle(out: Path, algorithm: Any = ALGORITHMS["default"], spec: Spec = SPEC, promoted: bool = True) -> Residual:
    residual = made_residual(algorithm, spec)
    write_bundle(out, residual, spec, made_config(algorithm), made_verdict(promoted))
    return residual


def asked(policy: runtime.Policy, spec: Spec, count: int, seed: int = 0) -> tuple[Any, np.ndarray]:
    arrays = {"normalizer.mean": policy.mean, "normalizer.factor": policy.factor}
    return probes(arrays, policy.manifest["features"], spec, count, seed)


def rewrite(out: Path, change: Callable[[dict[str, Any]], Any], source: Path | None = None) -> None:
    """Changes the manifest (that of `source`) and makes the digest right again."""
    manifest = json.loads(((source or out) / runtime.MANIFEST).read_text())
    change(manifest)
    manifest["sha256"] = runtime.digest(manifest, (out / runtime.WEIGHTS).read_bytes())
    (out / runtime.MANIFEST).write_text(json.dumps(manifest))
