"""Two learners that have learned a little, and what they compute written once more in NumPy."""

import functools
from dataclasses import replace

import jax
import numpy as np
from probes import ROBOT, SMALL, acted, used_learner

from residual_rl.learning.actors import Actor
from residual_rl.learning.exploration import Roles

BATCH = 48
# Of critics that know nothing few agree: with so little caution the gate is open in some rows, in others not.
RULES = SMALL | {"gated-ddpg": replace(SMALL["gated-ddpg"], actors=(Actor(cautions=(0.3, 0.0)),))}
GATED = RULES["gated-ddpg"]
EVERYBODY, NOBODY = np.ones(BATCH, dtype=bool), np.zeros(BATCH, dtype=bool)
BASE, FIRST, SECOND = (np.full(BATCH, arm) for arm in range(3))


@functools.cache
def used(name):
    """A learner whose networks are no longer what they were at the start."""
    return used_learner(RULES[name], ROBOT)


def residual_of(name, learner, batch, key=0, explore=NOBODY, arm=FIRST, algorithm=None):
    algorithm = algorithm or RULES[name]
    key, rows = jax.random.key(key), len(batch.reward)
    roles = Roles(explore[:rows], arm[:rows])
    return acted(algorithm, learner.current, batch.observation, batch.base_action, key, roles)


def network_in_numpy(network, x, member=()):
    """The network (or one member of an ensemble) applied to `[B, I]`, written out."""
    for index, layer in enumerate(network.layers):
        x = x @ np.asarray(layer.weight, np.float64)[member].T + np.asarray(layer.bias, np.float64)[member]
        if index == len(network.layers) - 1:
            return x
        if network.norms:
            layer_norm = network.norms[index]
            x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + layer_norm.eps)
            x = x * np.asarray(layer_norm.weight)[member] + np.asarray(layer_norm.bias)[member]
        x = np.maximum(x, 0.0)
    raise AssertionError("a network without layers")


def actor_in_numpy(name, actor, features):
    """The residual of an actor, or of the first of several."""
    return np.tanh(network_in_numpy(actor, features, () if name == "ddpg" else 0))


def values_in_numpy(critics, features, scored):
    inputs = np.concatenate([features, scored], axis=1)
    members = len(critics.layers[0].weight)
    return np.stack([network_in_numpy(critics, inputs, member)[:, 0] for member in range(members)])


def features_in_numpy(name, learner, observation):
    parts = [observation["observation"], observation["desired_goal"]]
    if name == "gated-ddpg":
        parts.append(observation["desired_goal"] - observation["achieved_goal"])
    features = np.concatenate(parts, axis=1).clip(-200, 200)
    deviation = np.sqrt(np.maximum(np.asarray(learner.normalizer.squares) / float(learner.normalizer.count), 1e-4))
    return ((features - np.asarray(learner.normalizer.mean)) / deviation).clip(-5, 5)


def target_in_numpy(name, learner, batch):
    """`[B]` the bootstrap target of either rule, for `ROBOT`'s discount of 19/20 and rewards in [-1, 0]."""
    algorithm = RULES[name]
    features = features_in_numpy(name, learner, batch.next_observation)
    residual = actor_in_numpy(name, learner.target_actor, features)
    base_action, scale = batch.next_base_action, algorithm.composition.scale
    if name == "ddpg":  # scores the residual, and has one critic
        next_value = values_in_numpy(learner.target_critics, features, residual)[0]
    else:  # scores the action, and lets the residual act where the critics agree
        acting = values_in_numpy(learner.target_critics, features, (base_action + scale * residual).clip(-1, 1))
        alone = values_in_numpy(learner.target_critics, features, base_action)
        advantage = acting - alone
        is_open = advantage.mean(axis=0) > algorithm.caution * advantage.std(axis=0)
        assert is_open.any()
        assert not is_open.all()
        chosen = np.where(is_open, acting, alone)
        next_value = chosen.mean(axis=0) - algorithm.pessimism * chosen.std(axis=0)
    return (batch.reward + batch.discount * next_value).clip(-20.0, 0.0)
