"""An exported policy in NumPy alone: `policy(observation, base_action) -> action`.

This file needs only NumPy (Python 3.8 and NumPy 1.17 or later, as on JetPack 5), and nothing of the package it comes from:
`residual-rl export` puts a copy of it into every bundle, as `residual_policy.py`. That is why reading, checking and computing
are one file here, and not one file each: a robot's computer gets a single file that can be read from top to bottom.

    from residual_policy import load

    policy = load("bundle")
    action = policy(observation, base_action)
    policy.scale = 0.0  # from now on the base alone, bit for bit

A bundle is data: `bundle.json` is the manifest, `weights.safetensors` holds the numbers. Nothing in it is executed, and every
entry is checked before it is used. Run as a script, this file prints the manifest of the bundle beside it and its speed here.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Optional, Tuple

import numpy as np

FORMAT = "residual-rl bundle 1"
MANIFEST = "bundle.json"
WEIGHTS = "weights.safetensors"
MAX_MANIFEST = 1 << 20  # bytes
MAX_WEIGHTS = 1 << 28  # bytes
MAX_SIZE = 1 << 16  # of an observation, a goal, an action or a hidden layer
MAX_LAYERS = 16
MAX_CRITICS = 64
MAX_ENTRIES = 4096  # of an observation
MAX_AXES = 32  # of an entry
LEAST_SCALE = 1e-60  # of the units of an observation
FEATURES = ("observation", "desired_goal", "to_goal", "base_action")
"""Possible inputs of a network; `to_goal` is the desired minus the achieved goal."""

Layer = Tuple[np.ndarray, np.ndarray, Optional[Tuple[np.ndarray, np.ndarray]]]
"""Weight `[I, out]`, bias `[out]` and, if the layer is normalised, the norm's weight and bias `[out]`. For critics the weight
is `[Q, I, out]`, and everything else `[Q, 1, out]`."""


class BundleError(Exception):
    """A bundle cannot be used: it is missing, damaged, altered, or has another format."""


def load(path: str | os.PathLike[str]) -> Policy:
    """Return the policy of a bundle. If its verdict did not promote it, its scale is 0: it acts as the base.

    Raises:
        BundleError: the folder holds no bundle, or one that is damaged; the message names the file and what is wrong.
    """
    manifest_path, weights_path = os.path.join(path, MANIFEST), os.path.join(path, WEIGHTS)
    manifest = _json_object(_read(manifest_path, MAX_MANIFEST), manifest_path)
    if manifest.get("format") != FORMAT:
        raise BundleError(f"{manifest_path}: its format is not {FORMAT!r}")
    weights = _read(weights_path, MAX_WEIGHTS)
    try:
        if manifest.get("sha256") != digest(manifest, weights):
            raise BundleError(f"{path} is damaged or was altered: it has not the sha256 that it was written with")
        shapes = array_shapes(manifest)
        _check_manifest(manifest)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise BundleError(f"{manifest_path}: {type(error).__name__}: {error}") from error
    arrays = _arrays(weights, shapes, weights_path)
    if "units.scale" in arrays and not (arrays["units.scale"] >= LEAST_SCALE).all():
        raise BundleError(f"{weights_path}: array 'units.scale' holds values below {LEAST_SCALE}")
    return Policy(manifest, arrays)


class Policy:
    """Base plus residual if the gate is open; else, and with scale 0, exactly the base."""

    def __init__(self, manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray]):
        self.manifest = manifest
        """The contents of `bundle.json`."""
        self.verdict: Mapping[str, Any] = manifest["verdict"]
        self.promoted: bool = self.verdict["promoted"]
        """Whether base plus residual was shown to be better than the base."""
        scale = manifest["composition"]["scale"]
        self.trained_scale = tuple(map(float, scale)) if isinstance(scale, list) else float(scale)
        self._sizes: Mapping[str, int] = manifest["sizes"]
        self._trained = np.broadcast_to(np.array(scale, np.float64), self._sizes["action"])
        self._scale = self._trained * self.promoted
        self._rate_limit = manifest["composition"]["rate_limit"]
        self.stands_alone: bool = manifest["composition"].get("stands_alone", False)
        """Whether this is a network alone, which needs no base action unless its scale is 0."""
        self._previous: Optional[Tuple[np.ndarray, np.ndarray]] = None
        self._entries = _entries(manifest)
        self._low, self._high = (np.array(manifest["bounds"][side], np.float64) for side in ("low", "high"))
        self._middle, self._half = (self._low + self._high) / 2.0, (self._high - self._low) / 2.0
        self._clip_base: bool = manifest["composition"]["clip_base"]
        self._scores_action: bool = manifest["composition"]["critic_scores"] == "action"
        self._clips = manifest["normalizer"]["clip_before"], manifest["normalizer"]["clip_after"]
        self._gate: Mapping[str, Any] | None = manifest["gate"]
        self._caution = None if self._gate is None else self._gate["caution"]
        self.units = (arrays["units.centre"], arrays["units.scale"]) if "units.centre" in arrays else None
        """[O + G] float64, the centre and the scale of observations and goals."""
        self.mean, self.factor = arrays["normalizer.mean"], arrays["normalizer.factor"]
        """[F] mean of the features, and the factor that is applied after it is subtracted."""
        count = len(manifest["hidden"]) + 1
        self.actor = _layers(arrays, "actor", count)
        self.critics = [] if self._gate is None else _layers(arrays, "critics", count)

    @property
    def scale(self) -> float | Tuple[float, ...]:
        """The factor of the residual: 0 is exactly the base; the residual was trained and judged with `trained_scale`.

        If that is a number for each entry of an action, so is this; setting it to one number limits every entry.
        """
        return tuple(self._scale.tolist()) if isinstance(self.trained_scale, tuple) else float(self._scale[0])

    @scale.setter
    def scale(self, value: Any) -> None:
        wanted = np.asarray(value, np.float64)
        most = self._trained.max() if wanted.ndim == 0 else self._trained
        if wanted.shape not in ((), self._trained.shape) or not ((wanted >= 0.0) & (wanted <= most)).all():
            raise ValueError(f"scale must be between 0 and {self.trained_scale}, with which it was trained, not {value}")
        if self.stands_alone and wanted.any() and not (wanted == self._trained).all():
            raise ValueError(f"a network that stands alone has no scale: 0 is the base, {self.trained_scale} the network")
        self._scale = np.minimum(wanted, self._trained)

    def reset(self) -> None:
        """Start an episode. Call it if there is a rate limit, which then begins at the base action."""
        self._previous = None

    @property
    def caution(self) -> float | None:
        """How sure the critics must be before the residual acts: standard deviations by which their mean must prefer it.

        With 0 their mean decides, however much they disagree; None is no gate: the residual acts everywhere. The verdict holds
        for the caution with which the bundle was written.
        """
        return self._caution

    @caution.setter
    def caution(self, value: float | None) -> None:
        if self._gate is None:
            raise ValueError("this policy was learned without a gate, and has no critics")
        if value is not None and not 0.0 <= value < math.inf:
            raise ValueError(f"caution must be None or at least 0, not {value}")
        self._caution = None if value is None else float(value)

    def __call__(self, observation: Any, base_action: Any = None) -> np.ndarray:
        """Return the action for one observation, or for each of a batch.

        Args:
            observation: `{"observation": [O], "achieved_goal": [G], "desired_goal": [G]}`, or a batch, `[B, O]` and `[B, G]`;
                a mere `[O]` or `[B, O]` for a task without goals. The environment's own form, a dictionary or more axes,
                works too. With scale 0 it is not used.
            base_action: `[A]` or `[B, A]`, the controller's action. A network that stands alone does not need it.

        Returns:
            `[A]` or `[B, A]` within the bounds, in the float type of `base_action`, or in float64.

        Raises:
            ValueError: a wrong shape, or a value that is not finite.
        """
        if base_action is None:
            base_action = self._nothing(observation)
        proposal = np.asarray(base_action)
        if proposal.dtype.kind != "f":
            proposal = proposal.astype(np.float64)
        rows = self._rows(proposal, "base_action", self._sizes["action"], None)
        low, high = self._low.astype(rows.dtype), self._high.astype(rows.dtype)
        base = rows.clip(low, high)
        if not self._scale.any():
            self._previous = None
            return base.reshape(proposal.shape)
        with np.errstate(all="ignore"):
            unit = ((base if self._clip_base else rows) - self._middle) / self._half  # [B, A]: the bounds are -1 and 1
            if self.stands_alone:
                unit = np.zeros_like(unit)
            features = self._features(observation, unit, proposal.shape[:-1])
            residual = np.tanh(_network(self.actor, features, 0.0))
            composed = (unit + self._scale * residual).clip(-1.0, 1.0)
            acts = np.isfinite(composed).all(axis=1, keepdims=True)
            if self._gate is not None and self._caution is not None:
                acts = acts & (self._margin(self._gate, self._caution, features, unit.astype(np.float32), residual) > 0.0)
            acts = acts & (self._scale > 0.0)  # [B, A]
            if self._rate_limit is not None:
                alone = unit.clip(-1.0, 1.0)
                composed = self._limited(np.where(acts, composed, alone), alone)
                acts = composed != alone
            action = composed * self._half + self._middle
        # Clipped once more: conversion and back can exceed a bound by a rounding error.
        return np.where(acts, action, base).astype(rows.dtype).clip(low, high).reshape(proposal.shape)

    def _nothing(self, observation: Any) -> np.ndarray:
        """Return what stands for a base action that was not passed: `[A]` or `[B, A]`, the middle of the bounds."""
        if not (self.stands_alone and self._scale.any()):
            raise ValueError("base_action is needed: the base acts")
        shown = observation["observation"] if self._in_parts(observation) else observation
        axes = 1
        if self._is_dictionary("observation"):
            entry = self._entries["observation"][0]
            axes = len(entry["shape"])
            for key in entry["path"]:
                shown = shown[key]
        elif self._entries:
            axes = len(self._entries["observation"][0]["shape"])
        batch = np.shape(shown)[: np.ndim(shown) - axes]
        return np.broadcast_to(self._middle, (*batch, len(self._middle)))

    def _limited(self, action: np.ndarray, alone: np.ndarray) -> np.ndarray:
        """Return the action after the rate limit: no further from the previous one than that, or than the base moved: `[B, A]`.

        All in units where the bounds are -1 and 1.
        """
        action_before, alone_before = self._previous or (alone, alone)
        if action_before.shape != action.shape:
            raise ValueError("with a rate limit steps follow each other: call reset() when episodes start")
        with_base = alone + (action_before - alone_before)
        low = np.minimum(action_before - self._rate_limit, with_base)
        action = action.clip(low, np.maximum(action_before + self._rate_limit, with_base))
        self._previous = action, alone
        return action

    def _features(self, observation: Any, unit: np.ndarray, batch: Tuple[int, ...]) -> np.ndarray:
        """Return the networks' normalised input: `[B, F]` float32."""
        shown = observation if self._in_parts(observation) else {"observation": observation}

        def rows(name: str, size: str) -> np.ndarray:
            if name not in shown:
                raise ValueError(f"the observation has no {name!r}")
            own = self._rows(self._join(shown[name], size, batch), name, self._sizes[size], len(unit))
            return self._finite(self._in_units(own, size).astype(np.float32), name)

        parts = []
        for name in self.manifest["features"]:
            if name == "base_action":
                parts.append(unit.astype(np.float32))
            elif name == "observation":
                parts.append(rows(name, "observation"))
            elif self._sizes["goal"]:
                goal = rows("desired_goal", "goal")
                parts.append(goal if name == "desired_goal" else goal - rows("achieved_goal", "goal"))
        before, after = self._clips
        features = np.concatenate(parts, axis=1).clip(-before, before)
        return ((features - self.mean) * self.factor).clip(-after, after)

    def _in_units(self, own: np.ndarray, size: str) -> np.ndarray:
        """Return observations or goals `[B, N]`, centred and scaled in double precision as in training."""
        if self.units is None:
            return own
        count = self._sizes["observation"]
        columns = slice(0, count) if size == "observation" else slice(count, None)
        centre, scale = self.units
        return (own - centre[columns]) / scale[columns]

    def _join(self, shown: Any, size: str, batch: Tuple[int, ...]) -> np.ndarray:
        """Return an observation or goal in the environment's form with its entries joined as in training: `[*batch, N]`."""
        if not self._is_dictionary(size) or not isinstance(shown, Mapping):
            array = _array(shown, size)
            if not self._entries:
                return array
            whole = [entry["shape"] for entry in self._entries.get(size, []) if not entry["path"]]
            return array.reshape(*batch, self._sizes[size]) if [*array.shape[len(batch) :]] in whole else array
        parts = []
        for entry in self._entries[size]:
            part, path = shown, "/".join(entry["path"])
            for key in entry["path"]:
                if not isinstance(part, Mapping) or key not in part:
                    raise ValueError(f"the observation has no {path!r}")
                part = part[key]
            array = _array(part, path)
            if array.shape != (*batch, *entry["shape"]):
                raise ValueError(f"{path!r} has shape {array.shape}, expected {entry['shape']}, with a leading axis in a batch")
            parts.append(array.reshape(*batch, math.prod(entry["shape"])))
        return np.concatenate(parts, axis=-1)

    def _in_parts(self, observation: Any) -> bool:
        """Return whether this is a dictionary of observation and goals, not a dictionary that is the observation itself."""
        if not self._entries:
            return isinstance(observation, Mapping)
        own = [entry["path"][0] for entry in self._entries.get("observation", []) if entry["path"]]
        if not isinstance(observation, Mapping) or self._sizes["goal"] or not own:
            return isinstance(observation, Mapping)
        return "observation" in observation and "observation" not in own

    def _is_dictionary(self, size: str) -> bool:
        """Return whether an observation, or a goal, was a dictionary in training."""
        return any(entry["path"] for entry in self._entries.get(size, []))

    def _margin(
        self, gate: Mapping[str, Any], caution: float, features: np.ndarray, unit: np.ndarray, residual: np.ndarray
    ) -> np.ndarray:
        """Return the margin by which the critics prefer the residual to the base, `[B, 1]`: above zero it acts."""
        scored = [residual, np.zeros_like(residual)]
        if self._scores_action:
            scored = [(unit + self._scale.astype(np.float32) * each).clip(-1.0, 1.0) for each in scored]
        inputs = np.concatenate([np.concatenate([features, each], axis=1) for each in scored])  # [2 B, F + A]
        values = _network(self.critics, inputs[None], gate["norm_epsilon"])  # [Q, 2 B, 1]
        advantage = values[:, : len(features)] - values[:, len(features) :]
        return advantage.mean(axis=0) - caution * advantage.std(axis=0)

    @staticmethod
    def _rows(array: np.ndarray, name: str, size: int, count: int | None) -> np.ndarray:
        """Check `[size]` or `[B, size]`, and return it as `[B, size]`."""
        rows = array[None] if array.ndim == 1 else array
        if rows.ndim != 2 or rows.shape[1] != size or count not in (None, len(rows)):
            raise ValueError(f"{name} has shape {array.shape}, expected [{size}], or [B, {size}] with one B for all")
        return Policy._finite(rows, name)

    @staticmethod
    def _finite(rows: np.ndarray, name: str) -> np.ndarray:
        if not np.isfinite(rows).all():
            raise ValueError(f"{name} holds values that are not finite")
        return rows


def _layers(arrays: Mapping[str, np.ndarray], prefix: str, count: int) -> list[Layer]:
    def layer(name: str) -> Layer:
        weight, bias = arrays[f"{name}.weight"], arrays[f"{name}.bias"]
        norm = (arrays[f"{name}.norm_weight"], arrays[f"{name}.norm_bias"]) if f"{name}.norm_weight" in arrays else None
        if weight.ndim == 2:
            return weight, bias, norm
        return weight, bias[:, None], norm and (norm[0][:, None], norm[1][:, None])

    return [layer(f"{prefix}.{index}") for index in range(count)]


def _network(layers: list[Layer], x: np.ndarray, epsilon: float) -> np.ndarray:
    """Apply fully connected layers with ReLU between them, after their layer norm if any: `[..., I] -> [..., out]`."""
    for index, (weight, bias, norm) in enumerate(layers):
        x = x @ weight + bias
        if norm is not None:
            x = x - x.mean(axis=-1, keepdims=True)
            x = x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + np.float32(epsilon)) * norm[0] + norm[1]
        if index < len(layers) - 1:
            x = np.maximum(x, 0.0)
    return x


def array_shapes(manifest: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every array that belongs to a manifest. A weight maps `x` to `x @ weight + bias`.

    All are float32 except those of the units, which are float64: in single precision a position of 1e7 has no fractions.

    Raises:
        ValueError: a size is invalid, or the total is too large.
    """
    sizes, gate, features = manifest["sizes"], manifest["gate"], manifest["features"]
    actions = _whole(sizes["action"], "sizes.action", 1, MAX_SIZE)
    goals = _whole(sizes["goal"], "sizes.goal", 0, MAX_SIZE)
    lengths = {"observation": _whole(sizes["observation"], "sizes.observation", 0, MAX_SIZE), "base_action": actions}
    if (
        not isinstance(features, list)
        or not 1 <= len(features) <= len(FEATURES)
        or any(one not in FEATURES for one in features)
    ):
        raise ValueError(f"features must be some of {', '.join(FEATURES)}")
    seen = _whole(sum(lengths.get(one, goals) for one in features), "the features' size", 1, 4 * MAX_SIZE)
    if not isinstance(manifest["hidden"], list) or not 1 <= len(manifest["hidden"]) <= MAX_LAYERS:
        raise ValueError(f"hidden must hold 1 to {MAX_LAYERS} sizes")
    hidden = [_whole(size, "hidden", 1, MAX_SIZE) for size in manifest["hidden"]]
    shapes: dict[str, tuple[int, ...]] = {"normalizer.mean": (seen,), "normalizer.factor": (seen,)}
    if manifest["units"]:
        numbers = lengths["observation"] + goals
        shapes.update({"units.centre": (numbers,), "units.scale": (numbers,)})
    for i, (fan_in, fan_out) in enumerate(zip([seen, *hidden], [*hidden, actions])):
        shapes.update({f"actor.{i}.weight": (fan_in, fan_out), f"actor.{i}.bias": (fan_out,)})
    if gate is not None:
        critics = _whole(gate["critics"], "gate.critics", 1, MAX_CRITICS)
        for i, (fan_in, fan_out) in enumerate(zip([seen + actions, *hidden], [*hidden, 1])):
            shapes.update({f"critics.{i}.weight": (critics, fan_in, fan_out), f"critics.{i}.bias": (critics, fan_out)})
            if i < len(hidden):
                shapes.update({f"critics.{i}.norm_{part}": (critics, fan_out) for part in ("weight", "bias")})
    if sum(_width(name) * math.prod(shape) for name, shape in shapes.items()) > MAX_WEIGHTS:
        raise ValueError(f"its arrays would take more than {MAX_WEIGHTS >> 20} MiB")
    return shapes


def _width(name: str) -> int:
    """Return the bytes per number of the array with this name."""
    return 8 if name.startswith("units.") else 4


def digest(manifest: Mapping[str, Any], weights: bytes) -> str:
    """Return the SHA-256 of the manifest without this digest, and of the weights' file.

    It finds damage, not manipulation: anyone who alters a bundle can write a new digest. Trust the bundle's source instead.
    """
    fields = {key: value for key, value in manifest.items() if key != "sha256"}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(hashlib.sha256(text.encode()).digest() + weights).hexdigest()


def latency(policy: Policy, seconds: float = 0.5) -> float:
    """Return the median microseconds of a step for one observation, with the residual on."""
    rng = np.random.default_rng(0)
    sizes, scale = policy.manifest["sizes"], policy.scale
    observation: Any = rng.standard_normal(sizes["observation"])
    if sizes["goal"]:
        goals = rng.standard_normal((2, sizes["goal"]))
        observation = {"observation": observation, "achieved_goal": goals[0], "desired_goal": goals[1]}
    base_action = np.zeros(sizes["action"])
    policy.scale = policy.trained_scale
    policy.reset()
    try:
        for _ in range(20):
            policy(observation, base_action)
        taken, end = [], time.perf_counter() + seconds
        while (started := time.perf_counter()) < end:
            policy(observation, base_action)
            taken.append(time.perf_counter() - started)
    finally:
        policy.scale = scale
        policy.reset()
    return float(np.median(taken) * 1e6)


def _check_manifest(manifest: Mapping[str, Any]) -> None:
    """Check the fields that `array_shapes` does not check. Raises ValueError."""
    composition, gate, bounds = manifest["composition"], manifest["gate"], manifest["bounds"]
    scale = composition["scale"]
    if isinstance(scale, list):
        if len(scale) != manifest["sizes"]["action"] or not any(scale):
            raise ValueError("composition.scale must be a number, or one for each entry of an action, one of them above 0")
        for entry in scale:
            _number(entry, "composition.scale", 0.0, 1e6)
    else:
        _number(scale, "composition.scale", 1e-6, 1e6)
    if composition["rate_limit"] is not None:
        _number(composition["rate_limit"], "composition.rate_limit", 1e-9, 1e6)
    if not isinstance(composition["clip_base"], bool) or composition["critic_scores"] not in ("action", "residual"):
        raise ValueError("composition.clip_base or composition.critic_scores is none of the known values")
    if not isinstance(composition.get("stands_alone", False), bool):
        raise ValueError("composition.stands_alone must be true or false")
    if not isinstance(manifest["units"], bool):
        raise ValueError("units must be true or false")
    for name in ("clip_before", "clip_after"):
        _number(manifest["normalizer"][name], f"normalizer.{name}", 1e-6, 1e9)
    if gate is not None:
        if gate["caution"] is not None:
            _number(gate["caution"], "gate.caution", 0.0, 1e6)
        _number(gate["norm_epsilon"], "gate.norm_epsilon", 1e-12, 1.0)
    for side in ("low", "high"):
        if not isinstance(bounds[side], list) or len(bounds[side]) != manifest["sizes"]["action"]:
            raise ValueError(f"bounds.{side} must hold a number for each entry of an action")
        for value in bounds[side]:
            _number(value, f"bounds.{side}", -1e6, 1e6)
    if not all(high - low >= 1e-6 for low, high in zip(bounds["low"], bounds["high"])):
        raise ValueError("bounds.low must lie below bounds.high")
    for size, entries in _entries(manifest).items():
        if size not in ("observation", "goal") or not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
            raise ValueError(f"entries may hold those of an observation and of a goal, {MAX_ENTRIES} at most")
        if sum(_entry_size(entry, size) for entry in entries) != manifest["sizes"][size]:
            raise ValueError(f"entries.{size} must be as large together as sizes.{size}")
    if not isinstance(manifest["verdict"], dict) or not isinstance(manifest["verdict"]["promoted"], bool):
        raise ValueError("verdict.promoted must be true or false")


def _array(value: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name!r} is no array of numbers") from None


def _entries(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the entries of an observation and a goal; empty if they are arrays."""
    entries = manifest["entries"]
    if entries is not None and not isinstance(entries, dict):
        raise ValueError("entries must be null or an object")
    return entries or {}


def _entry_size(entry: Any, size: str) -> int:
    if not isinstance(entry["path"], list) or not all(isinstance(key, str) for key in entry["path"]):
        raise ValueError(f"entries.{size} must each have a path, a list of keys")
    if not isinstance(entry["shape"], list) or len(entry["shape"]) > MAX_AXES:
        raise ValueError(f"entries.{size} must each have a shape, {MAX_AXES} lengths at most")
    return math.prod(_whole(length, f"entries.{size}.shape", 0, MAX_SIZE) for length in entry["shape"])


def _whole(value: Any, name: str, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}")
    return value


def _number(value: Any, name: str, least: float, most: float) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} must be a number from {least} to {most}")


def _read(path: str, most: int) -> bytes:
    """Return the contents of a file of at most `most` bytes."""
    try:
        if not os.path.isfile(path):  # nor a pipe, which would block
            raise BundleError(f"there is no file {path}")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = b"" if size > most else file.read(size)
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from error
    if not content:
        raise BundleError(f"{path} is empty or larger than {most >> 20} MiB")
    return content


def _json_object(content: bytes, path: str) -> dict[str, Any]:
    try:
        values = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is damaged: {type(error).__name__}") from error
    if not isinstance(values, dict):
        raise BundleError(f"{path} is damaged: it holds no JSON object")
    return values


def _arrays(content: bytes, shapes: Mapping[str, tuple[int, ...]], path: str) -> dict[str, np.ndarray]:
    """Return the arrays of a safetensors file: a length, a JSON header, the numbers. They must be exactly the expected ones."""
    start = 8 + int.from_bytes(content[:8], "little")
    if not 8 < start <= len(content):
        raise BundleError(f"{path} is damaged: its header is cut short")
    if start > MAX_MANIFEST:
        raise BundleError(f"{path}: its header is larger than {MAX_MANIFEST >> 20} MiB")
    header = _json_object(content[8:start], path)
    header.pop("__metadata__", None)
    if header.keys() != shapes.keys():
        odd = sorted(header.keys() ^ shapes.keys())[0]
        raise BundleError(f"{path}: array {odd[:80]!r} is missing or does not belong there")
    arrays = {}
    for name, shape in shapes.items():
        entry, width = header[name], _width(name)
        size = width * math.prod(shape)
        offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
        if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(offset) is int for offset in offsets):
            raise BundleError(f"{path}: array {name!r} has no offsets")
        if entry.get("dtype") != f"F{8 * width}" or entry.get("shape") != list(shape) or offsets[1] - offsets[0] != size:
            raise BundleError(f"{path}: array {name!r} is not float{8 * width}{list(shape)}")
        if not 0 <= offsets[0] <= len(content) - start - size:
            raise BundleError(f"{path} is damaged: array {name!r} is cut short")
        array = np.frombuffer(content, f"<f{width}", math.prod(shape), start + offsets[0]).reshape(shape)
        array = array.astype(f"f{width}")
        if not np.isfinite(array).all():
            raise BundleError(f"{path}: array {name!r} holds values that are not finite")
        arrays[name] = array
    return arrays


def main() -> None:
    """Print the manifest and the speed of the bundle beside this file, or in the folder named on the command line."""
    policy = load(sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__)))
    about = {name: policy.manifest.get(name) for name in ("task", "controller", "sizes", "gate", "verdict")}
    about.update(scale=policy.scale, trained_scale=policy.trained_scale, microseconds=round(latency(policy), 1))
    print(json.dumps(about, indent=2))


if __name__ == "__main__":
    main()
