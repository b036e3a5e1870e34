"""Running a pass in float64 and watching it: what a sheet is made from."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from minnet.autodiff import backpropagate
from minnet.errors import ArgumentError, DtypeError, GraphError, ShapeError, mismatch
from minnet.recording import no_grad, training_mode
from minnet.several import Several, parts_of
from minnet.spreadsheet.labels import FUNCTION, INPUTS, OPTIMIZER, RATE
from minnet.spreadsheet.trace import FORWARD, Node, Trace
from minnet.tensor import Array, Tensor, wrap

Place = TypeVar("Place")  # of a pass in a book


@dataclass
class Pass:
    """One forward pass, with its backward pass and update if there was one."""

    trace: Trace
    result: Node
    outputs: list[Node] = field(default_factory=list)  # the model's, but for scores in the loss
    rate: float | None = None  # the number that may be changed
    step_rate: Node | None = None  # what the optimizer or its schedule makes of it
    rule: str = ""  # the update in words
    inputs: list[Node] = field(default_factory=list)
    parameters: list[Node] = field(default_factory=list)
    new: dict[Node, Node] = field(default_factory=dict)  # parameter -> its new value
    masks: list[Node] = field(default_factory=list)  # which numbers dropout has kept
    target: Node | None = None  # where there is one alone
    states: list[Node] = field(default_factory=list)  # what the optimizer remembers, before
    new_states: dict[str, Node] = field(default_factory=dict)  # and after, by the name before

    def least_formulas(self) -> int:
        """Formulas that a sheet of this pass cannot do without: results, gradients, new weights."""
        shown = {n for n in self.trace.nodes if n.phase == FORWARD and not n.inner}
        shown |= {n.gradient for n in shown if n.gradient is not None} | set(self.new.values())
        shown |= set(self.new_states.values())
        return sum(n.value.size for n in shown if n.op is not None)


def latest_state(passes: Sequence[tuple[Place, Pass]], name: str) -> tuple[Place, Node] | None:
    """Where something that the optimizer remembers was written last, and as what.

    A step notes only what it looks at: the gradients of an epoch are measured at its end.
    """
    for place, step in reversed(passes):
        if name in step.new_states:
            return place, step.new_states[name]
    return None


def trace_step(model: Any, x: Any, y: Any, x_name: str = "x") -> Pass:
    """Forward, loss, backward and update of a compiled float64 model on one batch.

    ``x_name``: what the inputs are called, where there is one array of them.
    """
    trace = Trace(widens=True)
    with trace.watching():
        with training_mode() as deferred:
            inputs, targets, outputs, loss = _run(trace, model, x, y, x_name)
        trained = model.trainable_parameters()
        wanted = [t for t in (*inputs, *trained) if t.requires_grad]
        with trace.backward_pass():
            gradients = dict(zip(map(id, wanted), backpropagate(loss, wanted)))
        step = Pass(trace, trace.node_of(loss), outputs, model.optimizer.base_lr)
        update = _Update(step, model.optimizer, loss)
        for parameter in trained:
            gradient = gradients.get(id(parameter))
            if gradient is not None:
                update.move(parameter, gradient)
        update.finish()
        followed: dict[int, tuple[Tensor, Tensor]] = {}  # a layer called twice moves them twice
        for parameter, function in deferred:
            _, present = followed.get(id(parameter), (parameter, parameter))
            with trace.update_scope(parameter), no_grad():
                followed[id(parameter)] = parameter, function(present)
        for parameter, new in followed.values():
            step.new[trace.node_of(parameter)] = trace.node_of(new.named(f"new {parameter.name}"))
    _finish(step, inputs, targets, model)
    return step


class _Update:
    """One step of an optimizer in tensors: the rate, then one parameter after the other."""

    def __init__(self, step: Pass, optimizer: Any, loss: Tensor):
        self._step, self._trace, self._optimizer = step, step.trace, optimizer
        step.rule = optimizer.rule
        rate = wrap(np.array(step.rate)).named(RATE)
        self._trace.announce(rate, "rate")
        self._rate = rate
        kind = type(optimizer).__name__
        with self._trace.optimizer_scope(OPTIMIZER, kind), no_grad():
            self._shared = self._leaves(optimizer.shared, f"{OPTIMIZER}_")
            self._new_shared = dict(self._shared)
            self._rate = optimizer.rate(rate, self._new_shared, loss)
            if self._rate is not rate:
                step.step_rate = self._trace.node_of(self._rate.named("rate"))
        self._states: list[dict[str, Tensor]] = []  # of the parameters, after their moves

    def move(self, parameter: Tensor, gradient: Tensor) -> None:
        """The parameter's new value, and what the optimizer remembers of it."""
        trace = self._trace
        with trace.update_scope(parameter), no_grad():
            before = self._leaves(self._optimizer.state_of(parameter), f"{parameter.name}_")
            after = dict(before)
            new = self._optimizer.moved(parameter, parameter, gradient, self._rate, after)
            new.named(f"new {parameter.name}")
            self._note(before, after)
        self._states.append(after)
        self._step.new[trace.node_of(parameter)] = trace.node_of(new)

    def finish(self) -> None:
        """What the optimizer makes of the whole step."""
        before, after = self._shared, self._new_shared
        with self._trace.optimizer_scope(OPTIMIZER, type(self._optimizer).__name__), no_grad():
            self._optimizer.look_back(self._states, after, self._rate)
            if self._trace.known(before["iterations"]) is not None:
                after["iterations"] = before["iterations"] + 1
            self._note(before, after)

    def _leaves(self, state: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
        leaves = {}
        for name, value in state.items():
            leaves[name] = wrap(np.array(value, np.float64)).named(prefix + name)
            self._trace.announce(leaves[name], "state")
        return leaves

    def _note(self, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
        """Which leaves were used, and what has become of them."""
        for name, old in before.items():
            leaf = self._trace.known(old)
            if leaf is not None:
                self._step.states.append(leaf)
            elif after[name] is old:
                continue
            new = self._trace.node_of(after[name])
            if new.name is None:
                after[name].named(f"new {old.name}")
                new.owner = new.owner or leaf  # stands in the same columns
            self._step.new_states[str(old.name)] = new
        for name, value in after.items():
            if name not in before:  # what was not yet known, such as the loss of the step before
                self._step.new_states[f"{OPTIMIZER}_{name}"] = self._trace.node_of(value)


def trace_loss(model: Any, x: Any, y: Any, x_name: str = "x") -> Pass:
    """The forward pass of training and the loss alone."""
    trace = Trace(widens=True)
    with trace.watching(), no_grad(), training_mode():
        inputs, targets, outputs, loss = _run(trace, model, x, y, x_name)
    step = Pass(trace, trace.node_of(loss), outputs)
    _finish(step, inputs, targets, model)
    return step


def trace_prediction(model: Any, x: Any, x_name: str = "x") -> Pass:
    """The forward pass of ``predict``: no dropout, moving averages, no loss."""
    trace = Trace(widens=True)
    with trace.watching(), no_grad():
        inputs = _inputs(trace, model, x, x_name)
        outputs = _outputs(trace, model, model.forward(_joined(inputs)))
    step = Pass(trace, outputs[0], outputs)
    _finish(step, inputs, [], model)
    return step


def trace_function(fn: Callable[..., Any], inputs: Mapping[str, Array]) -> Pass:
    """A scalar function of tensors, and its gradient for every floating input."""
    trace = Trace()
    leaves = [_leaf(trace, array, "input", name) for name, array in inputs.items()]
    with trace.watching():
        with trace.scope(INPUTS):
            for leaf in leaves:
                trace.node_of(leaf)
        with trace.scope(FUNCTION, getattr(fn, "__name__", "").replace("<lambda>", "")):
            result = _call(fn, dict(zip(inputs, leaves)))
            if not isinstance(result, Tensor) or result.size != 1:
                received = f"shape {result.shape}" if isinstance(result, Tensor) else repr(result)
                raise ShapeError(
                    mismatch(
                        "the exported function",
                        "one number as its result",
                        received,
                        "Reduce it with .sum() or .mean().",
                    )
                )
            if result.name is None:
                result.named("result")
            if not result.requires_grad:
                raise GraphError(
                    "The exported function's result does not depend on any floating input, so it "
                    "has no backward pass. Compute it from the tensors that the function is given."
                )
            with trace.backward_pass():
                backpropagate(result, [t for t in leaves if t.requires_grad])
    step = Pass(trace, trace.node_of(result))
    step.inputs = [trace.node_of(t) for t in leaves]
    return step


def _call(fn: Callable[..., Any], leaves: Mapping[str, Tensor]) -> Any:
    arguments = _arguments(fn, leaves)
    try:
        return fn(*arguments.args, **arguments.kwargs)
    except DtypeError as error:
        raise DtypeError(
            f"{error} A workbook is calculated in float64: hand every tensor to the function "
            "through inputs=, which converts it, instead of closing over it."
        ) from error


def _arguments(fn: Callable[..., Any], leaves: Mapping[str, Tensor]) -> inspect.BoundArguments:
    """The tensors by the names of the function's arguments; in order where these have no names.

    Raises :class:`~minnet.errors.ArgumentError` for others than the function takes.
    """
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # as of some functions written in C
        signature = inspect.signature(lambda *tensors: None)
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    nameless = kinds & {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL}
    try:
        return signature.bind(*leaves.values()) if nameless else signature.bind(**leaves)
    except TypeError:
        expected = f"its arguments {', '.join(signature.parameters)}"
        where = "inputs of the exported function"
        raise ArgumentError(mismatch(where, expected, ", ".join(leaves) or "none")) from None


def _leaf(trace: Trace, array: Array, kind: str, name: str) -> Tensor:
    if array.size == 0:
        raise ShapeError(
            mismatch(f"exporting {name!r}", "at least one row", f"shape {array.shape}")
        )
    tensor = wrap(np.array(array)).named(name)
    tensor.requires_grad = array.dtype.kind == "f" and kind == "input"
    trace.announce(tensor, kind)
    return tensor


def _run(
    trace: Trace, model: Any, x: Any, y: Any, x_name: str
) -> tuple[list[Tensor], list[Tensor], list[Node], Tensor]:
    """The watched forward pass of a model: its inputs, its targets, its outputs and its loss."""
    answers = parts_of(y)
    wanted = ["target"] if len(answers) == 1 else [f"{n}_target" for n in model.output_names]
    inputs = _inputs(trace, model, x, x_name)
    targets = [_leaf(trace, a, "target", n) for a, n in zip(answers, wanted, strict=True)]
    loss, prediction = model.loss_of(_joined(inputs), _joined(targets))
    return inputs, targets, _outputs(trace, model, prediction), loss.named("loss")


def _outputs(trace: Trace, model: Any, prediction: Any) -> list[Node]:
    """The nodes of a model's outputs. A softmax is called so, as the one in a classifier's loss.

    Where the loss takes scores, the probabilities are none of the pass's own.
    """
    endings = getattr(model, "endings", None) or [model.ending]
    found = []
    for output, ending in zip(parts_of(prediction), endings, strict=True):
        node = None if output is None else trace.known(output)
        if node is not None:
            if ending == "softmax" and output.name is None:
                output.named("softmax")
            found.append(node)
    return found


def _inputs(trace: Trace, model: Any, x: Any, x_name: str) -> list[Tensor]:
    """The leaves of a model's pass: its inputs, in a strip of their own, and its parameters."""
    arrays = parts_of(x)
    names = [x_name] if len(arrays) == 1 else model.input_names
    inputs = [_leaf(trace, a, "input", n) for a, n in zip(arrays, names, strict=True)]
    for parameter in model.parameters():
        trace.announce(parameter, "parameter")
    with trace.scope(INPUTS):
        for tensor in inputs:
            trace.node_of(tensor)
    return inputs


def _joined(tensors: list[Tensor]) -> Any:
    return tensors[0] if len(tensors) == 1 else Several(tensors)


def _finish(step: Pass, inputs: list[Tensor], targets: list[Tensor], model: Any) -> None:
    step.inputs = [step.trace.node_of(t) for t in (*inputs, *targets)]
    step.parameters = [n for n in step.trace.nodes if n.kind == "parameter"]
    step.masks = [n for n in step.trace.nodes if n.kind == "mask"]
    step.target = step.trace.node_of(targets[0]) if len(targets) == 1 else None
    if not step.parameters:
        raise ArgumentError(
            mismatch("export", "a model that uses its weights", f"{model.name!r} without any")
        )
