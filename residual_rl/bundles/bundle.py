"""Write a policy as a bundle: a folder that runs without the learner's libraries, see `runtime`.

bundle.json           the manifest: sizes, features, composition, gate, bounds, verdict, the configuration's hash
weights.safetensors   the numbers
residual_policy.py    a copy of `runtime.py`, to run the policy where residual-rl is not installed
policy.onnx           the same function as ONNX, on request
"""

import hashlib
import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pydantic.dataclasses import dataclass
from safetensors.numpy import save

from residual_rl import config as configuration
from residual_rl import storage
from residual_rl.bundles import runtime
from residual_rl.config import Config
from residual_rl.errors import ResidualRLError, RunError
from residual_rl.learning import normalizer as norm
from residual_rl.learning.graph import Graph
from residual_rl.learning.networks import MLP
from residual_rl.policy import Residual
from residual_rl.residual import Composer
from residual_rl.spaces import GOAL_KEYS, Entry, Layout
from residual_rl.types import Observation, Spec
from residual_rl.verdict import Verdict

RUNTIME = "residual_policy.py"
ONNX = "policy.onnx"
PROBES = 2000  # observations on which a bundle is compared with the policy that it was made from
TOLERANCE = 1e-5  # of an action: several times the error of float32, see docs/export.md
TIES = 20  # probes in which the gate may be so close to undecided that the last bit decides; more if it has just opened


@dataclass(frozen=True)
class Exported:
    """A written bundle."""

    path: Path
    promoted: bool
    """If false, the bundle acts as the base until its scale is set."""
    size: int
    """Bytes of all files."""
    largest_difference: float
    """Largest difference of an entry of an action from the run's policy, over `PROBES` observations."""
    microseconds: float
    """Median duration of a step with the residual on, in this process."""

    def __str__(self) -> str:
        decision = "promoted" if self.promoted else "not promoted: it delivers the base until its scale is set"
        return (
            f"{self.path}: {self.size / 1e6:.1f} MB, {decision}; actions within {self.largest_difference:.1e} of the run's, "
            f"{self.microseconds:.0f} microseconds a step"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return storage.to_json(self)


def write_bundle(
    out: Path,
    residual: Residual,
    spec: Spec,
    config: Config,
    verdict: Verdict,
    onnx: bool = False,
    layout: Layout | None = None,
) -> Exported:
    """Write a bundle atomically, after comparing it with the policy that it was made from.

    With a layout, its bounds and the units of observations are those of that environment, and the manifest lists the entries
    of an observation.

    Raises:
        RunError: `out` is there already or cannot be written, or the bundle would not be the same function.
        ResidualRLError: a bundle cannot hold this algorithm's residual; or `onnx` is set and ONNX is not installed.
    """
    if residual.algorithm.history > 1:
        raise ResidualRLError(
            f"a bundle sees one observation, but this policy sees the latest {residual.algorithm.history}: use the run itself, "
            "with `load`"
        )
    graph = residual.algorithm.graph(residual.networks)
    if not graph.hidden:
        raise ResidualRLError("a bundle holds networks with hidden layers, and this policy's have none")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} is there already, and not empty; choose another folder")
    arrays = _arrays(graph) | _unit_arrays(layout)
    manifest = _manifest(graph, residual, spec, config, verdict, layout)
    beside = out.parent / f".{out.name}.partial"
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        weights = save(arrays)
        (beside / runtime.WEIGHTS).write_bytes(weights)
        manifest["sha256"] = runtime.digest(manifest, weights)
        (beside / runtime.MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        shutil.copyfile(runtime.__file__, beside / RUNTIME)
        policy = runtime.load(beside)
        if onnx:
            from residual_rl.bundles.onnx_graph import save_onnx

            save_onnx(policy, beside / ONNX)
        difference = differences(policy, residual, *probes(arrays, manifest["features"], spec, PROBES), layout)
        if (difference > TOLERANCE).sum() > TIES:
            raise RunError(f"the bundle's actions differ by {difference.max():.1e} from those of the policy it was made of")
        size = sum(entry.stat().st_size for entry in beside.iterdir())
        os.replace(beside, out)
    except OSError as error:
        raise RunError(f"cannot write {out}: {error}") from error
    except runtime.BundleError as error:
        raise RunError(f"this policy cannot be a bundle: {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Exported(out, policy.promoted, size, float(difference.max()), runtime.latency(policy))


def config_sha256(config: Config) -> str:
    """Return a hash of the configuration: SHA-256 of its JSON with sorted keys."""
    return hashlib.sha256(json.dumps(configuration.to_json(config), sort_keys=True).encode()).hexdigest()


def probes(
    arrays: dict[str, np.ndarray], features: list[str], spec: Spec, count: int, seed: int = 0
) -> tuple[Observation, np.ndarray]:
    """Return observations `[count]` as the learner has seen them, and base actions `[count, A]`, some beyond the bounds."""
    rng = np.random.default_rng(seed)
    lengths = {"observation": spec.observation_size, "base_action": spec.action_size}
    ends = np.cumsum([lengths.get(name, spec.goal_size) for name in features])
    drawn = arrays["normalizer.mean"] + rng.standard_normal((count, ends[-1])) / arrays["normalizer.factor"]
    parts = dict(zip(features, np.split(drawn, ends[:-1], axis=1), strict=True))
    goal = parts["desired_goal"]
    observation = Observation(
        observation=parts["observation"], achieved_goal=goal - parts.get("to_goal", 0.0), desired_goal=goal
    )
    return observation, rng.uniform(-1.2, 1.2, (count, spec.action_size))


def differences(
    policy: runtime.Policy, residual: Residual, observation: Observation, proposal: np.ndarray, layout: Layout | None = None
) -> np.ndarray:
    """Return how far the bundle's action is from the training-side policy's, with the residual on: `[B]`, largest over entries.

    In units where the bounds are -1 and 1, in which the proposals `[B, A]` are too.
    """
    composition = residual.algorithm.composition
    base_action = composition.base_action(proposal)
    own = observation
    if layout is not None:
        own = layout.raw(observation)
        observation = layout.split(np.concatenate([own[key] for key in GOAL_KEYS], axis=1))
    shown = own if own["desired_goal"].shape[1] else own["observation"]
    beside = composition.beside(base_action)
    wanted = Composer(composition)(beside, residual(observation, beside), residual.scale)
    scale, policy.scale = policy.scale, policy.trained_scale
    policy.reset()
    try:
        if layout is None:
            return np.abs(policy(shown, proposal) - wanted).max(axis=1)
        return np.abs(layout.to_unit(policy(shown, layout.from_unit(proposal))) - wanted).max(axis=1)
    finally:
        policy.scale = scale
        policy.reset()


def _manifest(
    graph: Graph, residual: Residual, spec: Spec, config: Config, verdict: Verdict, layout: Layout | None
) -> dict[str, Any]:
    composition, gate = residual.algorithm.composition, graph.gate
    return {
        "format": runtime.FORMAT,
        "made_by": f"residual-rl {version('residual-rl')}",
        "task": config.task,
        "controller": config.controller,
        "config_sha256": config_sha256(config),
        "sizes": {"observation": spec.observation_size, "goal": spec.goal_size, "action": spec.action_size},
        "features": list(graph.features),
        "units": layout is not None and layout.units is not None,
        "normalizer": {"clip_before": norm.CLIP_BEFORE, "clip_after": norm.CLIP_AFTER},
        "hidden": list(graph.hidden),
        "composition": {
            "scale": list(composition.scale) if isinstance(composition.scale, tuple) else composition.scale,
            "clip_base": composition.clip_base,
            "critic_scores": composition.critic_scores,
            "rate_limit": composition.rate_limit,
            "stands_alone": composition.stands_alone,
        },
        "bounds": {
            "low": [-1.0] * spec.action_size if layout is None else list(layout.low),
            "high": [1.0] * spec.action_size if layout is None else list(layout.high),
        },
        "entries": None if layout is None else {"observation": _entries(layout.observation), "goal": _entries(layout.goal)},
        "gate": None
        if gate is None
        else {
            "critics": len(gate.critics.layers[0].weight),
            "caution": gate.caution,
            "norm_epsilon": gate.critics.norms[0].eps,
        },
        "verdict": verdict.to_json(),
    }


def _entries(entries: tuple[Entry, ...]) -> list[dict[str, Any]]:
    return [{"path": list(entry.path), "shape": list(entry.shape)} for entry in entries]


def _arrays(graph: Graph) -> dict[str, np.ndarray]:
    """Return the arrays that `runtime.array_shapes` names."""
    normalizer = graph.normalizer
    arrays = {"normalizer.mean": normalizer.mean, "normalizer.factor": norm.factor(normalizer)} | _layers("actor", graph.actor)
    if graph.gate is not None:
        arrays |= _layers("critics", graph.gate.critics)
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


def _unit_arrays(layout: Layout | None) -> dict[str, np.ndarray]:
    if layout is None or layout.units is None:
        return {}
    return {"units.centre": np.array(layout.units.centre), "units.scale": np.array(layout.units.scale)}


def _layers(prefix: str, network: MLP) -> dict[str, Any]:
    arrays = {}
    for i, layer in enumerate(network.layers):
        arrays |= {f"{prefix}.{i}.weight": np.swapaxes(layer.weight, -1, -2), f"{prefix}.{i}.bias": layer.bias}
    for i, each in enumerate(network.norms):
        arrays |= {f"{prefix}.{i}.norm_weight": each.weight, f"{prefix}.{i}.norm_bias": each.bias}
    return arrays
