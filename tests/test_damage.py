"""A bundle whose files were damaged or tampered with: nothing done to them gets through."""

import json
import os
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import SPEC, asked, made_bundle, rewrite
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from residual_rl.bundles import runtime
from residual_rl.bundles.runtime import BundleError, load
from residual_rl.learning.actors import Actor
from residual_rl.learning.gated_ddpg import GatedDDPG


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "default"
    made_bundle(out)
    return out


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With few and small arrays, so that much can be tried on it."""
    out = tmp_path_factory.mktemp("bundles") / "small"
    made_bundle(out, GatedDDPG(hidden=(8,), num_critics=2, actors=(Actor(cautions=(0.2,)),)))
    return out


def copied(exported: Path, tmp_path: Path) -> tuple[Path, Any, np.ndarray, np.ndarray]:
    """A copy to be damaged, and what the whole one does."""
    shutil.copytree(exported, tmp_path / "out")
    policy = load(exported)
    observation, proposal = asked(policy, SPEC, 20)
    return tmp_path / "out", observation, proposal, policy(observation, proposal)


def reweigh(out: Path, change: Callable[[dict[str, np.ndarray]], Any], source: Path | None = None) -> None:
    """Changes the arrays (those of `source`) and makes the digest right again."""
    arrays = {name: array.copy() for name, array in load_arrays(((source or out) / runtime.WEIGHTS).read_bytes()).items()}
    change(arrays)
    (out / runtime.WEIGHTS).write_bytes(save_arrays(arrays))
    rewrite(out, lambda manifest: None)


def mutated(rng: np.random.Generator, whole: bytes) -> bytes:
    """The bytes with a few changed, some cut out, some put in, or cut short."""
    data, at = bytearray(whole), int(rng.integers(len(whole)))
    if rng.random() < 0.5:
        at = int(rng.integers(min(len(whole), 1500)))  # where the structure is
    match rng.integers(4):
        case 0:
            for _ in range(rng.integers(1, 4)):
                data[rng.integers(len(data)) if rng.random() < 0.3 else at] ^= int(rng.integers(1, 256))
        case 1:
            del data[at : at + int(rng.integers(1, 20))]
        case 2:
            data[at:at] = rng.bytes(int(rng.integers(1, 20)))
        case 3:
            del data[at:]
    return bytes(data)


POISON = [
    None, True, False, 0, -1, 1, 2, 3, 31, 33, 2**16, 2**31, 2**63, 10**30, 10**400, 0.5, -0.0, 1e308, float("nan"),
    float("inf"), float("-inf"), "", "0", "observation", "x" * 1000, [], [1], [[]], [0] * 100, [2**40, 2**40], {}, {"scale": 1},
    [32, 32, 32],
    ["observation"], ["base_action", "base_action"], [0, 0], [0, -4], [-128, 0], ["a", 1],
]  # fmt: skip


def poison(rng: np.random.Generator, values: Any) -> None:
    """Replaces, removes or adds an entry somewhere in nested JSON values."""
    while True:
        keys = list(values) if isinstance(values, dict) else list(range(len(values)))
        key = keys[rng.integers(len(keys))]
        if isinstance(values[key], dict | list) and values[key] and rng.random() < 0.7:
            values = values[key]
            continue
        if rng.random() < 0.1:
            del values[key]
        elif rng.random() < 0.05 and isinstance(values, dict):
            values["more"] = values[key]
        else:
            values[key] = POISON[rng.integers(len(POISON))]
        return


def test_bytes_altered_by_chance_are_noticed_or_change_nothing(small: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    out, observation, proposal, expected = copied(small, tmp_path)
    files = {name: (small / name).read_bytes() for name in (runtime.MANIFEST, runtime.WEIGHTS)}
    refused = 0
    for _ in range(1000):
        name = rng.choice(list(files))
        whole = files[name]
        (out / name).write_bytes(mutated(rng, whole))
        try:
            np.testing.assert_array_equal(load(out)(observation, proposal), expected)
        except BundleError:
            refused += 1
        (out / name).write_bytes(whole)
    assert refused > 830


def test_values_altered_on_purpose_are_refused_or_harmless(small: Path, tmp_path: Path) -> None:
    """With the digest made anew, as one would who means harm. What loads still acts within its bounds."""
    rng = np.random.default_rng(0)
    out, observation, proposal, _ = copied(small, tmp_path)
    refused = 0
    for _ in range(700):
        rewrite(out, lambda manifest: poison(rng, manifest), small)
        refused += refused_or_harmless(out, observation, proposal)
    assert 240 < refused < 700


def test_headers_altered_on_purpose_are_refused_or_harmless(small: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    out, observation, proposal, _ = copied(small, tmp_path)
    whole = (small / runtime.WEIGHTS).read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    refused = 0
    for _ in range(400):
        header = json.loads(whole[8 : 8 + length])
        poison(rng, header)
        text = json.dumps(header).encode()
        (out / runtime.WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + length :])
        rewrite(out, lambda manifest: None)
        refused += refused_or_harmless(out, observation, proposal)
    assert refused > 280


def refused_or_harmless(out: Path, observation: Any, proposal: np.ndarray) -> bool:
    tracemalloc.start()
    try:
        policy = load(out)
    except BundleError:
        return True
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1_000_000, "bytes, for files of a few kB"
    policy.scale = policy.trained_scale
    try:
        action = policy(observation, proposal)
    except ValueError:  # of other sizes
        return False
    assert np.isfinite(action).all()
    low, high = policy.manifest["bounds"]["low"], policy.manifest["bounds"]["high"]
    assert (action >= np.array(low) - 1e-6).all()
    assert (action <= np.array(high) + 1e-6).all()
    return False


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(exported: Path, tmp_path: Path, value: float) -> None:
    out, *_ = copied(exported, tmp_path)
    for name in ("actor.1.weight", "critics.0.norm_bias", "normalizer.mean"):
        reweigh(out, lambda arrays, name=name: arrays[name].put(0, value), exported)
        with pytest.raises(BundleError, match=f"{name}.*not finite"):
            load(out)


def test_weights_that_overflow_leave_the_base(exported: Path, tmp_path: Path) -> None:
    out, observation, proposal, _ = copied(exported, tmp_path)
    reweigh(out, lambda arrays: [array.fill(3e38) for name, array in arrays.items() if name.startswith("actor")])
    reweigh(out, lambda arrays: arrays["actor.1.weight"].put(np.arange(0, 1024, 2), -3e38))
    rewrite(out, lambda manifest: manifest.update(gate=None), None)
    reweigh(out, lambda arrays: [arrays.pop(name) for name in list(arrays) if name.startswith("critics")])
    action = load(out)(observation, proposal)
    assert np.isfinite(action).all()
    assert np.abs(action).max() <= 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("actor.0.bias"), "actor.0.bias"),
        (lambda arrays: arrays.update(extra=np.zeros(1, np.float32)), "extra"),
        (lambda arrays: arrays.update({"actor.0.bias": np.zeros(32)}), r"actor.0.bias.*float32\[32\]"),
        (lambda arrays: arrays.update({"actor.0.bias": np.zeros((32, 1), np.float32)}), r"actor.0.bias.*float32\[32\]"),
    ],
)
def test_arrays_must_be_exactly_those_that_belong_there(
    exported: Path, tmp_path: Path, change: Callable[[Any], Any], message: str
) -> None:
    out, *_ = copied(exported, tmp_path)
    reweigh(out, change)
    with pytest.raises(BundleError, match=message):
        load(out)


def test_files_that_are_none_are_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no file"):
        load(tmp_path / "nowhere")
    for name, most in ((runtime.MANIFEST, runtime.MAX_MANIFEST), (runtime.WEIGHTS, runtime.MAX_WEIGHTS)):
        out, *_ = copied(exported, tmp_path / name)
        (out / name).unlink()
        os.mkfifo(out / name)
        with pytest.raises(BundleError, match=f"no file.*{name}"):
            load(out)
        (out / name).unlink()
        with (out / name).open("wb") as file:
            file.truncate(most + 1)
        with pytest.raises(BundleError, match="larger"):
            load(out)


@pytest.mark.parametrize(
    "text",
    ["", "[" * 100_000, "{" * 50_000, '{"a":' * 900 + "1" + "}" * 900, "9" * 10_000, "null", "\ud800", '{"format": 1}'],
)
def test_json_that_is_no_manifest_is_refused(exported: Path, tmp_path: Path, text: str) -> None:
    out, *_ = copied(exported, tmp_path)
    (out / runtime.MANIFEST).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(BundleError):
        load(out)
    if text.startswith("{"):
        nested = json.dumps({"format": runtime.FORMAT})[:-1] + ', "deep": ' + '{"a":' * 980 + "1" + "}" * 980 + "}"
        (out / runtime.MANIFEST).write_text(nested)
        with pytest.raises(BundleError):
            load(out)


def test_another_format_is_named(exported: Path, tmp_path: Path) -> None:
    out, *_ = copied(exported, tmp_path)
    rewrite(out, lambda manifest: manifest.update(format="residual-rl bundle 2"))
    with pytest.raises(BundleError, match="residual-rl bundle 1"):
        load(out)
