"""What a net with several outputs is trained on: a loss for each, and their weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from minnet import losses
from minnet.configs import Config
from minnet.errors import ArgumentError, mismatch
from minnet.inputs import as_columns
from minnet.layers import ACTIVATIONS, scope
from minnet.losses import Loss
from minnet.metrics import Metric, by_name, listed, to_config
from minnet.program import worked_out
from minnet.several import Several
from minnet.tensor import Array, Tensor, wrap


class Objectives(Loss):
    """A loss, a weight and metrics for each output.

    Raises :class:`~minnet.errors.ArgumentError` where they are not one for each, or unknown.
    """

    steady = True
    name = "sum_of_losses"
    description = "sum of the outputs' losses"

    def __init__(self, outputs: list[str], loss: Any, weights: Any, metrics: Any, where: str):
        if loss is None:
            raise ArgumentError(mismatch(where, "a loss", "none", "For example loss='mse'."))
        self.outputs = outputs
        each = isinstance(loss, (dict, list, tuple))
        given = as_columns(loss, outputs, f"{where} loss") if each else [loss] * len(outputs)
        self.losses = tuple(losses.get(one) for one in given)
        factors = [1.0] * len(outputs)
        if weights is not None:
            factors = as_columns(weights, outputs, f"{where} loss_weights")
        self.factors = tuple(map(float, factors))
        self._metrics = _metrics_by_output(metrics, outputs, where)

    def config(self) -> Config:
        """What ``compile`` was given, as JSON holds it."""
        chosen = {
            output: [to_config(metric) for metric in found]
            for output, found in self._metrics.items()
        }
        loss = [losses.to_config(one) for one in self.losses]
        return {"loss": loss, "loss_weights": list(self.factors), "metrics": chosen}

    def metrics(self) -> dict[str, Metric]:
        """The loss of each output, then what was asked to be measured, '<output>_<metric>'."""
        found: dict[str, Metric] = {}
        for i, (output, loss) in enumerate(zip(self.outputs, self.losses, strict=True)):
            found[f"{output}_loss"] = _of_output(i, _measured(loss))
        for i, (output, loss) in enumerate(zip(self.outputs, self.losses, strict=True)):
            binary = isinstance(loss, losses.BinaryCrossentropy)
            for name, function in by_name(self._metrics[output], binary=binary).items():
                found[f"{output}_{name}"] = _of_output(i, function)
        return found

    def prepare_targets(
        self,
        targets: Sequence[Array],
        shapes: Sequence[tuple[int, ...]],
        endings: Sequence[str | None],
        dtype: npt.DTypeLike,
    ) -> Several:
        """Each output's targets as its loss wants them."""
        prepared = []
        for loss, y, shape, ending in zip(self.losses, targets, shapes, endings, strict=True):
            loss.require_ending(ending)
            prepared.append(loss.prepare_target(y, shape, dtype))
        return Several(prepared)

    def take_scores(self, endings: Sequence[str | None]) -> list[bool]:
        """Which outputs are wanted before their activations: see :meth:`Loss.from_logits`."""
        pairs = zip(self.losses, endings, strict=True)
        return [loss.fuses_with is not None and loss.fuses_with == end for loss, end in pairs]

    def of(
        self,
        outputs: Sequence[Tensor],
        as_scores: Sequence[bool],
        targets: Sequence[Tensor],
        weights: Tensor | None,
    ) -> tuple[Tensor, Several]:
        """The weighted sum of the losses, and the predictions."""
        weighed = () if weights is None else (weights,)
        total: Any = None
        predictions = []
        for i, (loss, out, y) in enumerate(zip(self.losses, outputs, targets, strict=True)):
            with scope("loss", self.description):
                value: Any = (
                    loss.from_logits(out, y, *weighed) if as_scores[i] else loss(out, y, *weighed)
                )
                value.named(f"{self.outputs[i]} loss")
                if self.factors[i] != 1:
                    value = self.factors[i] * value
                total = value if total is None else total + value
            function = ACTIVATIONS[str(loss.fuses_with)] if as_scores[i] else None
            predictions.append(out if function is None else wrap(worked_out(function, out.data)))
        return total, Several(predictions)


def _measured(loss: Loss) -> Metric:
    return lambda prediction, target: loss(wrap(prediction), wrap(target)).item()


def _of_output(i: int, metric: Metric) -> Callable[[Any, Any], float]:
    return lambda prediction, target: metric(prediction.parts[i], target.parts[i])


def _metrics_by_output(metrics: Any, outputs: list[str], where: str) -> dict[str, list[Any]]:
    if not isinstance(metrics, Mapping):
        return {output: listed(metrics) for output in outputs}
    unknown = set(metrics) - set(outputs)
    if unknown:
        expected = f"metrics of outputs {', '.join(outputs)}"
        raise ArgumentError(mismatch(where, expected, ", ".join(map(repr, sorted(unknown)))))
    return {output: listed(metrics.get(output)) for output in outputs}
