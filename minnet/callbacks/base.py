"""The contract of callbacks, Keras's, and the list that calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from minnet.errors import ArgumentError, mismatch

if TYPE_CHECKING:
    from minnet.fitting import Loop

Logs = dict[str, float]
Hook = Callable[[int, Logs], Any]

#: Hooks of one batch, the newer and the older name of each.
_BATCH_BEGIN = ("on_batch_begin", "on_train_batch_begin")
_BATCH_END = ("on_batch_end", "on_train_batch_end")


class Callback:
    """Something that ``fit`` calls on its way. Override the methods that you need.

    ``logs`` holds numbers by name: after a batch the means of the epoch so far, after an epoch
    its loss and metrics and their 'val_' companions. A method may add to the logs of an epoch; the
    callbacks after it and the history see that. Epochs and batches count from 0. Setting
    ``model.stop_training = True`` ends training after the current batch or epoch.

    >>> class Patience(Callback):
    ...     def on_epoch_end(self, epoch, logs):
    ...         if logs["loss"] < 0.1:
    ...             self.model.stop_training = True

    A batch method that is not overridden costs nothing.
    """

    #: The model being trained.
    model: Any = None
    #: How ``fit`` was called: 'batch_size', 'epochs', 'steps', 'samples', 'verbose', 'metrics'.
    params: dict[str, Any] = {}  # noqa: RUF012 - replaced, never changed
    #: The loop of the ``fit`` that runs; None outside it. ``loop.position`` says how far it is.
    loop: Loop | None = None
    #: Whether it is called after all others, the history included: whoever saves wants to see
    #: what they did.
    after_others = False

    def set_model(self, model: Any) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch, with its logs; not called where an exception ends training."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch; called again when training is resumed in the middle of it."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """After an epoch and its validation."""

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        """Before a step."""

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """After a step."""

    def on_batch_begin(self, batch: int, logs: Logs) -> None:
        """The same as :meth:`on_train_batch_begin`, under its older name."""

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """The same as :meth:`on_train_batch_end`, under its older name."""

    def close(self) -> None:
        """After everything, however training ended: let go of files and the like."""

    def state(self) -> dict[str, Any]:
        """What must be kept to resume training in another process: JSON values and arrays."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`state` gave; called after ``on_train_begin``."""

    def __getstate__(self) -> dict[str, Any]:
        """A copy of a callback belongs to no training."""
        return {k: v for k, v in self.__dict__.items() if k not in ("model", "loop")}


class CallbackList:
    """The callbacks of one ``fit``, in the order in which they are called.

    Raises :class:`~minnet.errors.ArgumentError` for anything but instances of :class:`Callback`.
    """

    def __init__(self, callbacks: Sequence[Callback], model: Any, params: dict[str, Any]):
        for callback in callbacks:
            if not isinstance(callback, Callback):
                is_class = isinstance(callback, type)
                received = f"the class {callback.__name__}" if is_class else type(callback).__name__
                raise ArgumentError(mismatch("callbacks", "instances of Callback", received))
        self.callbacks = sorted(callbacks, key=lambda callback: callback.after_others)
        #: What there is to call before and after each step; often nothing.
        self.batch_begin: list[Hook] = []
        self.batch_end: list[Hook] = []
        for callback in self.callbacks:
            callback.set_params(params)
            callback.set_model(model)

    def train_begin(self, loop: Loop) -> None:
        for callback in self.callbacks:
            callback.loop = loop
        for callback in self.callbacks:
            callback.on_train_begin()
        # Only now: a callback may have decided in on_train_begin what it will look at.
        self.batch_begin = self._overridden(_BATCH_BEGIN)
        self.batch_end = self._overridden(_BATCH_END)

    def epoch_begin(self, epoch: int) -> None:
        for callback in self.callbacks:
            callback.on_epoch_begin(epoch, {})

    def epoch_end(self, epoch: int, logs: Logs) -> None:
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, logs)

    def train_end(self, logs: Logs) -> None:
        for callback in self.callbacks:
            callback.on_train_end(logs)

    def close(self) -> None:
        for callback in self.callbacks:
            try:
                callback.close()
            finally:
                callback.loop = None

    def _overridden(self, names: Iterable[str]) -> list[Hook]:
        hooks = []
        for callback in self.callbacks:
            for name in names:
                hook = getattr(callback, name)
                if getattr(hook, "__func__", hook) is not getattr(Callback, name):
                    hooks.append(hook)
        return hooks
