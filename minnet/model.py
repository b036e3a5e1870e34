"""Model: what can be done with layers once they are put together, in Keras's verbs."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from minnet import fitting, losses, optimizers, random, training
from minnet.callbacks import Callback, History
from minnet.checks import whole
from minnet.errors import ArgumentError, DtypeError, ShapeError, mismatch
from minnet.layers import ACTIVATIONS, Layer, Shape, scope
from minnet.losses import Loss
from minnet.lr_finder import RateSearch, find_lr
from minnet.metrics import Metric, by_name, listed
from minnet.optimizers import Optimizer
from minnet.program import vouched, worked_out
from minnet.progress import format_values
from minnet.replay import Replays
from minnet.saving import Savable
from minnet.sources import ClassWeight, prepare, source_of
from minnet.summary import Shown
from minnet.tensor import Array, Tensor, wrap
from minnet.training import numbers


class Model(Savable, Shown):
    """The verbs of every model; how its layers hang together is up to its kind.

    ``dtype``: float32 or float64, of all weights and calculations. ``seed``: a generator of the
    model's own for weights and shuffling; None uses the shared one that ``minnet.seed`` resets.

    Raises :class:`~minnet.errors.DtypeError` for another dtype.
    """

    #: All layers, each once, in the order in which data meet them.
    layers: list[Layer]
    #: Whether a step always does the same with its layers; see :mod:`minnet.replay`.
    steady: ClassVar[bool] = False

    def __init__(self, name: str, dtype: npt.DTypeLike = np.float32, seed: int | None = None):
        self.name = name
        self.dtype = _float_dtype(type(self).__name__, dtype)
        self.layers = []
        self.loss: Loss | None = None
        self.optimizer = optimizers.get("sgd")
        self.metrics: dict[str, Metric] = {}
        self.history = History()
        #: Set to True by a callback, ends ``fit`` after the current batch or epoch.
        self.stop_training = False
        #: What is known of training steps.
        self.replays = Replays()
        self._rng = None if seed is None else random.generator_from(seed)

    # -- for each kind of model ------------------------------------------------------------------

    @property
    def output_shape(self) -> Shape:
        """The shape of one row of the output.

        Raises :class:`~minnet.errors.ArgumentError` before the model is built.
        """
        raise NotImplementedError(f"{type(self).__name__}.output_shape")

    @property
    def ending(self) -> str | None:
        """The name of the activation that the output ends in, where it ends in one."""
        raise NotImplementedError(f"{type(self).__name__}.ending")

    def forward(self, x: Any, as_scores: bool = False) -> Any:
        """The output for a batch; ``as_scores``: before the activation that it ends in."""
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def prepare_inputs(self, x: Any) -> Any:
        """Inputs, checked and cast to what :meth:`forward` computes with; builds the model."""
        raise NotImplementedError(f"{type(self).__name__}.prepare_inputs")

    # -- the parameters --------------------------------------------------------------------------

    def parameters(self) -> list[Tensor]:
        """All parameters, layer by layer."""
        return [p for layer in self.layers for p in layer.parameters.values()]

    def trainable_parameters(self) -> list[Tensor]:
        """The parameters that the next step changes."""
        return [p for layer in self.layers for p in layer.parameters.values() if p.requires_grad]

    def astype(self, dtype: npt.DTypeLike) -> Model:
        """A copy of the model, sharing nothing with it, whose parameters have this dtype."""
        model = copy.deepcopy(self)
        model._rng = model._rng or copy.deepcopy(random.generator())
        model.dtype = _float_dtype(type(self).__name__, dtype)
        for layer in model.layers:
            layer._rng = model._rng
            layer.dtype = model.dtype
            for p in layer.parameters.values():  # themselves: the layer may have them elsewhere too
                p._data, p.grad = p._data.astype(model.dtype), None
                model.optimizer.cast(p)
        return model

    # -- calculating -----------------------------------------------------------------------------

    def __call__(self, x: Any) -> Any:
        """The output for a batch (n, *input_shape), recorded where parameters are trainable."""
        return self.forward(x)

    def loss_of(self, x: Any, y: Any, weights: Tensor | None = None) -> tuple[Tensor, Any]:
        """The loss of a batch and, where it was computed, the prediction; ``weights``: (rows,).

        The one place where a model meets its loss. ``x`` and ``y`` hold what :meth:`prepare` gives.
        A last softmax or sigmoid that the loss can do without is left out: the loss is then
        computed from the logits, and the probabilities for metrics alone, outside the graph.
        """
        value, prediction = self.data_loss(x, y, weights)
        regularized = [layer for layer in self.layers if layer.regularizers]
        if regularized:
            with scope("loss", self._compiled_loss("loss_of").description):
                penalties = [p for layer in regularized for p in layer.penalties()]
                value = sum(penalties, start=value.named("data loss"))
        return value, prediction

    def data_loss(self, x: Any, y: Any, weights: Tensor | None) -> tuple[Tensor, Any]:
        """:meth:`loss_of` without the penalties of regularizers."""
        loss = self._compiled_loss("loss_of")
        weighed = () if weights is None else (weights,)
        activation = loss.fuses_with
        if activation is None or activation != self.ending:
            prediction = self.forward(x)
            with scope("loss", loss.description):
                return loss(prediction, y, *weighed), prediction
        logits = self.forward(x, as_scores=True)
        with scope("loss", loss.description):
            value = loss.from_logits(logits, y, *weighed)
        function = ACTIVATIONS[activation] if self.metrics else None
        if function is None:
            return value, None
        return value, vouched(wrap(worked_out(function, logits.data)))

    def compile(
        self,
        optimizer: str | Optimizer = "sgd",
        loss: str | Loss | Callable[[Tensor, Tensor], Any] | None = None,
        metrics: str | Metric | Sequence[str | Metric] | None = None,
    ) -> None:
        """Choose how to train: an optimizer, a loss and what to measure on the way, by name or not.

        The optimizer starts afresh: whatever it remembered of earlier steps is forgotten. Of two
        metrics called 'error' the second is measured as 'error_2'.

        Raises :class:`~minnet.errors.ArgumentError` for an unknown name or a missing loss.
        """
        if loss is None:
            advice = "For example loss='mse'."
            raise ArgumentError(mismatch(f"{self.name}.compile", "a loss", "none", advice))
        self.optimizer, self.loss = optimizers.get(optimizer), losses.get(loss)
        self.optimizer.reset()
        binary = isinstance(self.loss, losses.BinaryCrossentropy)
        self.metrics = by_name(listed(metrics), binary=binary)

    def prepare(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Inputs and targets, checked and cast to what :meth:`loss_of` computes with.

        Inputs become (rows, *input_shape) of the model's dtype; targets as the loss wants them
        (:meth:`minnet.losses.Loss.prepare_target`). Builds the model if need be.

        Raises :class:`~minnet.errors.ShapeError` for no rows, other row counts or other shapes,
        :class:`~minnet.errors.DtypeError` for anything but numbers,
        :class:`~minnet.errors.NumberError` for NaN or infinity, and
        :class:`~minnet.errors.ArgumentError` where the model is not compiled or its last
        activation cannot give what the loss needs.
        """
        loss = self._compiled_loss("prepare")
        inputs, targets = self.prepare_inputs(x), numbers("targets y", y)
        if len(inputs) != len(targets):
            expected = f"{len(inputs)} rows, as in x"
            raise ShapeError(mismatch("targets y", expected, f"{len(targets)}"))
        loss.require_ending(self.ending)
        return inputs, loss.prepare_target(targets, self.output_shape, self.dtype)

    def fit(
        self,
        x: Any,
        y: npt.ArrayLike | None = None,
        batch_size: int = 32,
        epochs: int = 1,
        verbose: int = 1,
        callbacks: Iterable[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: ClassWeight | None = None,
        sample_weight: npt.ArrayLike | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        nb_epoch: int | None = None,
    ) -> History:
        """Train for epochs ``initial_epoch`` to ``epochs`` (alias ``nb_epoch``).

        ``x`` and ``y``: arrays with one row per sample; or ``x`` alone, an iterable of batches
        (x, y) or (x, y, sample_weight), such as :class:`minnet.data.Batches` or a generator. An
        epoch has ``steps_per_epoch`` batches, or all there are; a generator needs it for several
        epochs. ``shuffle``: take the rows of arrays in a new order in each epoch.

        ``validation_split``: this fraction, taken from the end before shuffling, is not trained on
        but measured after each epoch, as ``validation_data`` is: (x, y), (x, y, sample_weight) or
        an iterable of batches, of which ``validation_steps`` are used. ``sample_weight``: (rows,);
        ``class_weight``: {class: weight}, 1 for the others, in training alone. The loss is the sum
        of each row's weight times its loss, divided by the number of rows.

        ``verbose``: 0 silent, 1 a progress bar, or one line per epoch off a terminal, 2 one line
        per epoch. ``callbacks``: see :mod:`minnet.callbacks`.

        Raises what :meth:`prepare` raises, :class:`~minnet.errors.ArgumentError` for arguments out
        of range or an iterable that ends too early, and :class:`~minnet.errors.NumberError`, with
        epoch, batch and layer, if training diverges; the weights then keep their last finite
        values. After Ctrl-C the history so far is on ``model.history``.
        """
        return fitting.fit(
            self,
            x,
            y,
            batch_size=batch_size,
            epochs=epochs if nb_epoch is None else nb_epoch,
            verbose=verbose,
            callbacks=callbacks,
            validation_split=validation_split,
            validation_data=validation_data,
            shuffle=shuffle,
            class_weight=class_weight,
            sample_weight=sample_weight,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
        )

    def find_lr(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        start: float = 1e-7,
        end: float = 10.0,
        steps: int = 100,
        batch_size: int = 32,
    ) -> RateSearch:
        """Look for a learning rate to begin with; the model is afterwards what it was before.

        Trains for ``steps`` batches at most while the rate grows from ``start`` to ``end`` by the
        same factor each time, until the loss is lost. The result has a ``suggestion``, a tenth of
        the rate at which the loss was lowest, and ``plot(path)``.

        Raises what :meth:`fit` raises, and :class:`~minnet.errors.NumberError` where the loss
        diverges within the first steps.
        """
        return find_lr(self, x, y, start, end, steps, batch_size)

    def train_on_batch(
        self, x: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> float | list[float]:
        """One step on all the rows given; the loss before it, or [loss, *metrics].

        Raises what :meth:`fit` raises.
        """
        inputs, targets, weights = prepare(self, x, y, sample_weight)
        with np.errstate(over="ignore", invalid="ignore"):
            # A view, as the engine makes the arrays it has recorded read-only.
            values = training.train_step(self, inputs[:], targets[:], weights)
        return values if self.metrics else values[0]

    def evaluate(
        self,
        x: Any,
        y: npt.ArrayLike | None = None,
        batch_size: int = 32,
        verbose: int = 0,
        sample_weight: npt.ArrayLike | None = None,
        steps: int | None = None,
    ) -> float | list[float]:
        """The loss, or [loss, *metrics]: means over rows, of arrays or an iterable of batches.

        Raises what :meth:`fit` raises about data.
        """
        size = whole("batch_size", batch_size, 1)
        steps = None if steps is None else whole("steps", steps, 1)
        source = source_of(self, x, y, size, sample_weight=sample_weight, steps=steps)
        values = fitting.evaluate(self, source)
        if verbose:
            done = source.rows or source.steps or "?"
            print(f"{done}/{done}{format_values(values)}")
        return list(values.values()) if self.metrics else values["loss"]

    def predict(self, x: Any, batch_size: int = 32, steps: int | None = None) -> Any:
        """The outputs (rows, *output_shape), in inference mode; a list where there are several.

        ``x``: an array, or an iterable of batches: arrays, or tuples that begin with one, of which
        ``steps`` are used.

        Raises what :meth:`prepare` raises about inputs.
        """
        return fitting.predict(self, x, batch_size, steps)

    def predict_proba(self, x: Any, batch_size: int = 32) -> Any:
        """The same as :meth:`predict`, under the name that Keras has for probabilities."""
        return self.predict(x, batch_size)

    def predict_classes(self, x: Any, batch_size: int = 32) -> Any:
        """The most probable class per row, int64 (rows,); of one unit, 1 where it is > 0.5.

        A list of them where there are several outputs.
        """
        prediction = self.predict(x, batch_size)
        several = isinstance(prediction, list)
        return list(map(_classes, prediction)) if several else _classes(prediction)

    def export_xlsx(self, x: Any, y: Any, path: str | os.PathLike[str], **options: Any) -> Any:
        """Write training steps on a batch as a workbook of live formulas; what is predicted where
        ``y`` is None.

        Short for :func:`minnet.export_xlsx`, which explains the options.
        """
        # The one import against the flow: a verb of the model that needs everything built on it.
        from minnet.spreadsheet.export import export_xlsx

        return export_xlsx(self, x, y, path, **options)

    # -- calls at the wrong time -------------------------------------------------------------------

    def _require_layers(self, what: str) -> None:
        if not self.layers:
            where, advice = f"{self.name}: {what}", "Call model.add(layer) first."
            raise ArgumentError(mismatch(where, "at least one layer", "none", advice))

    def _compiled_loss(self, what: str) -> Loss:
        self._require_layers(what)
        if self.loss is None:
            where, advice = f"{self.name}: {what}", "Call model.compile('sgd', loss='mse') first."
            raise ArgumentError(mismatch(where, "a compiled model", "one without a loss", advice))
        return self.loss


def _classes(prediction: Array) -> Array:
    if prediction.shape[-1] == 1:
        return (prediction[..., 0] > 0.5).astype(np.int64)
    return np.asarray(prediction.argmax(-1))


def _float_dtype(where: str, dtype: npt.DTypeLike) -> np.dtype[Any]:
    found = np.dtype(dtype)
    if found not in (np.float32, np.float64):
        raise DtypeError(mismatch(where, "dtype float32 or float64", f"{found}"))
    return found
