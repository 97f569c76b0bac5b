"""A bundle's policy as an ONNX graph: the same function, for runtimes that are not Python.

Inputs: those of `observation`, `achieved_goal`, `desired_goal` that the policy uses, float64 if the bundle has units for them,
else float32; and `base_action`, float32; each `[B, .]`. Optional: `scale` `[]`, float32; its default follows from the verdict,
as in `runtime.load`. With a rate limit also `previous_action` and `previous_base_action` `[B, A]`, float32, of the previous
step; in an episode's first step pass the base action for both.
Output: `action` `[B, A]`.

Differs: a graph cannot refuse its inputs, so it does not check that they are finite.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from residual_rl.bundles.runtime import Layer, Policy
from residual_rl.optional import need

OPSET, IR = 17, 8  # of 2022: old enough for the runtimes on robots


def save_onnx(policy: Policy, path: Path) -> None:
    """Write the graph of a policy.

    Raises:
        ResidualRLError: ONNX is not installed.
    """
    onnx = _onnx()
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    manifest = policy.manifest
    graph = _Graph()
    graph.constant(np.max(policy.scale), "scale")
    _policy(graph, policy)
    goal, actions = manifest["sizes"]["goal"], manifest["sizes"]["action"]
    sizes = {
        "observation": manifest["sizes"]["observation"],
        "achieved_goal": goal,
        "desired_goal": goal,
        "base_action": actions,
        "previous_action": actions,
        "previous_base_action": actions,
    }
    read = {name for node in graph.nodes for name in node.input}
    own = number if policy.units is None else onnx.TensorProto.DOUBLE
    types = {name: number if name == "base_action" else own for name in sizes}
    inputs = [helper.make_tensor_value_info(name, types[name], ["B", sizes[name]]) for name in sizes if name in read]
    inputs.append(helper.make_tensor_value_info("scale", number, []))
    output = helper.make_tensor_value_info("action", number, ["B", actions])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "residual_policy", inputs, [output], graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name=manifest["made_by"],
    )
    props = {"bundle_sha256": manifest["sha256"], "promoted": str(policy.promoted), "trained_scale": str(policy.trained_scale)}
    helper.set_model_props(model, props)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _onnx() -> Any:
    return need("onnx", "onnx", "ONNX files")


class _Graph:
    """The nodes and constants of a graph under construction. A call adds an operator and returns the name of its output."""

    def __init__(self) -> None:
        onnx = _onnx()
        self._node, self._tensor = onnx.helper.make_node, onnx.numpy_helper.from_array
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._named: dict[tuple[tuple[int, ...], bytes], str] = {}

    def constant(self, value: Any, name: str | None = None, dtype: type = np.float32) -> str:
        """Return the name of a constant. Equal ones are stored once, since the critics' weights are used twice."""
        array = np.asarray(value, dtype)
        name = name or self._named.setdefault((array.shape, array.tobytes()), f"constant_{len(self._named)}")
        if all(one.name != name for one in self.constants):
            self.constants.append(self._tensor(array, name))
        return name

    def __call__(self, operator: str, *inputs: Any, output: str | None = None, **attributes: Any) -> str:
        """Add a node. Inputs that are not names become constants."""
        names = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(self._node(operator, names, [output], **attributes))
        return output


def _policy(graph: _Graph, policy: Policy) -> None:
    """`Policy.__call__`, node by node."""
    composition, gate = policy.manifest["composition"], policy.manifest["gate"]
    low, high = (np.array(policy.manifest["bounds"][side]) for side in ("low", "high"))
    middle, half = (low + high) / 2.0, (high - low) / 2.0
    base = graph("Max", graph("Min", "base_action", high), low)
    scale = graph("Min", "scale", np.array(policy.trained_scale)) if isinstance(policy.trained_scale, tuple) else "scale"

    def in_unit(action: str) -> str:
        return graph("Div", graph("Sub", action, middle), half)

    unit = in_unit(base if composition["clip_base"] else "base_action")
    if policy.stands_alone:
        unit = graph("Mul", unit, 0.0)

    def composed(residual: str) -> str:
        return graph("Clip", graph("Add", unit, graph("Mul", scale, residual)), -1.0, 1.0)

    features = _features(graph, policy, unit)
    residual = graph("Tanh", _network(graph, policy.actor, features, 0.0))
    action = composed(residual)
    acts = graph("Greater", scale, 0.0)
    if gate is not None and gate["caution"] is not None:
        scored = [residual, graph("Mul", residual, 0.0)]
        if composition["critic_scores"] == "action":
            scored = [composed(each) for each in scored]
        inputs = [graph("Concat", features, each, axis=1) for each in scored]
        advantage = graph("Sub", *(_network(graph, policy.critics, each, gate["norm_epsilon"]) for each in inputs))  # [Q, B, 1]
        mean = graph("ReduceMean", advantage, axes=[0], keepdims=0)
        spread = graph("Sub", advantage, mean)
        deviation = graph("Sqrt", graph("ReduceMean", graph("Mul", spread, spread), axes=[0], keepdims=0))
        acts = graph("And", acts, graph("Greater", mean, graph("Mul", deviation, gate["caution"])))  # [B, 1]
    if composition["rate_limit"] is not None:
        alone = graph("Clip", unit, -1.0, 1.0)
        action = _limited(graph, policy, graph("Where", acts, action, alone), alone, in_unit)
        acts = graph("And", graph("Greater", "scale", 0.0), graph("Not", graph("Equal", action, alone)))
    action = graph("Add", graph("Mul", action, half), middle)
    inside = graph("Max", graph("Min", action, high), low)  # the way there and back can end a rounding error beyond a bound
    graph("Where", acts, inside, base, output="action")


def _limited(graph: _Graph, policy: Policy, action: str, alone: str, in_unit: Callable[[str], str]) -> str:
    """`Policy._limited`, node by node."""
    limit = policy.manifest["composition"]["rate_limit"]
    before = graph("Clip", in_unit("previous_action"), -1.0, 1.0)
    alone_before = graph("Clip", in_unit("previous_base_action"), -1.0, 1.0)
    if policy.stands_alone:
        alone_before = graph("Mul", alone_before, 0.0)
    with_base = graph("Add", alone, graph("Sub", before, alone_before))
    low = graph("Min", graph("Sub", before, limit), with_base)
    high = graph("Max", graph("Add", before, limit), with_base)
    return graph("Max", graph("Min", action, high), low)


def _features(graph: _Graph, policy: Policy, unit: str) -> str:
    """Return the networks' normalised input: `[B, F]`."""
    manifest, parts = policy.manifest, []

    def seen(name: str) -> str:
        """Return an input in the units of training."""
        if policy.units is None:
            return name
        count = manifest["sizes"]["observation"]
        columns = slice(0, count) if name == "observation" else slice(count, None)
        centre, scale = (graph.constant(values[columns], dtype=np.float64) for values in policy.units)
        return graph("Cast", graph("Div", graph("Sub", name, centre), scale), to=_onnx().TensorProto.FLOAT)

    for name in manifest["features"]:
        if name == "base_action":
            parts.append(unit)
        elif name == "observation":
            parts.append(seen(name))
        elif manifest["sizes"]["goal"]:
            parts.append(seen(name) if name == "desired_goal" else graph("Sub", seen("desired_goal"), seen("achieved_goal")))
    before, after = manifest["normalizer"]["clip_before"], manifest["normalizer"]["clip_after"]
    clipped = graph("Clip", graph("Concat", *parts, axis=1), -before, before)
    return graph("Clip", graph("Mul", graph("Sub", clipped, policy.mean), policy.factor), -after, after)


def _network(graph: _Graph, layers: list[Layer], x: str, epsilon: float) -> str:
    """Add fully connected layers with ReLU between them, after their layer norm if they have one."""
    for index, (weight, bias, norm) in enumerate(layers):
        x = graph("Add", graph("MatMul", x, weight), bias)
        if norm is not None:
            x = graph("Sub", x, graph("ReduceMean", x, axes=[-1]))
            variance = graph("ReduceMean", graph("Mul", x, x), axes=[-1])
            x = graph("Div", x, graph("Sqrt", graph("Add", variance, epsilon)))
            x = graph("Add", graph("Mul", x, norm[0]), norm[1])
        if index < len(layers) - 1:
            x = graph("Relu", x)
    return x
