"""BackupAndRestore: training that survives whatever ends its process."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from minnet import configs, random, saving, weights
from minnet.callbacks.base import Callback, Logs
from minnet.checks import whole
from minnet.configs import Config
from minnet.errors import FileError, MinnetError, mismatch
from minnet.files import PathLike, remove_leftovers
from minnet.kernels import prepared, products
from minnet.tensor import Array, Tensor
from minnet.weights.safetensors import opened_with

#: What stands before the names of the callbacks' arrays in the file.
CALLBACK = "callback/"
#: What belongs to the training and not to the model, in the file's metadata.
TRAINING = "training"


class BackupAndRestore(Callback):
    """Goes on where an earlier run of the same program was stopped, by a crash or ``kill -9``.

    A backup is written to ``directory`` after each epoch and, where ``save_freq`` is a number,
    after every so many batches. If one is there when training begins, it is taken up: weights, the
    optimizer and what it remembers, the epoch and the batch, the history, the other callbacks, and
    the generators of random numbers. So the same program, run again, ends with the same weights to
    the last bit as one that nobody stopped, given the same data. When training ends the backup is
    deleted, unless ``delete_checkpoint`` is False.

    >>> model.fit(x, y, epochs=100, callbacks=[BackupAndRestore("backup")])

    The backup is a saved model too: ``minnet.load_model("backup/backup.safetensors")``.

    Raises :class:`~minnet.errors.ArgumentError` for another ``save_freq`` and, when training
    begins, :class:`~minnet.errors.FileError` for a backup of another training.
    """

    after_others = True
    loop: Any = None

    def __init__(
        self, directory: PathLike, save_freq: str | int = "epoch", delete_checkpoint: bool = True
    ):
        self.path = Path(directory) / "backup.safetensors"
        every = save_freq != "epoch"
        self._every = whole("BackupAndRestore save_freq", save_freq, 1) if every else None
        self._delete = delete_checkpoint

    def on_train_begin(self, logs: Logs | None = None) -> None:
        saving.describe(self.model)  # what cannot be saved is an error now, not after an epoch
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            expected = "a directory for backups"
            where = str(self.path.parent)
            raise FileError(mismatch(where, expected, str(error.strerror))) from None
        remove_leftovers(self.path)
        if self.path.exists():
            self._restore()

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        if self._every is not None and (batch + 1) % self._every == 0:
            self._save()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._save()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._delete:
            self.path.unlink(missing_ok=True)
            if not any(self.path.parent.iterdir()):
                self.path.parent.rmdir()

    # -- what is kept ----------------------------------------------------------------------------

    def _save(self) -> None:
        states, arrays = [], {}
        for number, (kind, callback) in enumerate(self._with_state()):
            state = dict(callback.state())
            for name in [name for name, value in state.items() if isinstance(value, np.ndarray)]:
                arrays[f"{CALLBACK}{number}/{name}"] = state.pop(name)
            states.append([kind, state])
        training = {
            "position": asdict(self.loop.position),
            "callbacks": states,
            "random": {key: random.state_of(rng) for key, rng in self._generators().items()},
            "fit": self._fit(),
            "threads": products.threads_are_running(),
            "uses": [prepared.uses(p.data) for p in self._frozen()],
        }
        saving.save(self.model, self.path, arrays, {TRAINING: training})

    def _restore(self) -> None:
        with opened_with(self.path) as (arrays, metadata):
            try:
                self._require_same(metadata)
                weights.load(self.model.layers, self.path)
                self._restore_optimizer(metadata["compile"]["optimizer"]["config"], arrays)
                for layer, settings in zip(self.model.layers, _layers(metadata)):
                    layer.trainable = settings["config"]["trainable"]
                    layer.lr_multiplier = settings["config"]["lr_multiplier"]
                training = metadata[TRAINING]
                for key, rng in self._generators().items():
                    rng.bit_generator.state = training["random"][key]
                self._restore_callbacks(training["callbacks"], arrays)
                self._restore_choices(training)
                self.loop.position = replace(self.loop.position, **training["position"])
            except MinnetError:
                raise
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                expected = "a backup of a training"
                received = f"something else: {type(error).__name__} {error}"
                raise FileError(mismatch(str(self.path), expected, received)) from error

    def _frozen(self) -> list[Tensor]:
        return [p for p in self.model.parameters() if not p.requires_grad]

    def _restore_choices(self, training: Any) -> None:
        """Of several ways to work something out, which differ in the last bits, one is chosen by
        whether threads are running, and whether weights that stay the same were used before."""
        if training.get("threads"):
            from minnet.kernels import jit

            jit.start_threads()
        for parameter, uses in zip(self._frozen(), training.get("uses", ())):
            for use in uses:
                prepared.seen(parameter.data, use)

    def _restore_optimizer(self, settings: Config, arrays: Any) -> None:
        if isinstance(settings["lr"], float):
            self.model.optimizer.lr = settings["lr"]
        saving.restore_state(self.model, arrays)

    def _restore_callbacks(self, states: list[tuple[str, Config]], arrays: Any) -> None:
        for number, ((_, callback), (_, state)) in enumerate(zip(self._with_state(), states)):
            prefix = f"{CALLBACK}{number}/"
            own: dict[str, Array] = {
                name.removeprefix(prefix): array.read()
                for name, array in arrays.items()
                if name.startswith(prefix)
            }
            callback.load_state({**state, **own})

    def _require_same(self, metadata: Config) -> None:
        """Refuse a backup that this training cannot go on from.

        Raises :class:`~minnet.errors.FileError`, saying what is different.
        """
        here = saving.describe(self.model)
        training = metadata[TRAINING]
        pairs = {
            "layers": (_without_switches(here), _without_switches(metadata)),
            "optimizer": (_without_rate(here), _without_rate(metadata)),
            "loss or metrics": tuple(
                {k: v for k, v in m["compile"].items() if k != "optimizer"}
                for m in (here, metadata)
            ),
            "batch size or data": (self._fit(), training["fit"]),
            "callbacks": (
                [kind for kind, _ in self._with_state()],
                [kind for kind, _ in training["callbacks"]],
            ),
            "generators": (sorted(self._generators()), sorted(training["random"])),
        }
        other = [name for name, (a, b) in pairs.items() if _text(a) != _text(b)]
        if other:
            expected, received = "a backup of this training", f"one with other {', '.join(other)}"
            advice = "Delete it to begin anew, or run the program that wrote it."
            raise FileError(mismatch(str(self.path), expected, received, advice))

    # -- what there is to keep -------------------------------------------------------------------

    def _with_state(self) -> list[tuple[str, Callback]]:
        """The other callbacks that have something to remember, and their classes' names."""
        found = self.loop.callbacks.callbacks
        return [(type(c).__name__, c) for c in found if c is not self and c.state()]

    def _generators(self) -> dict[str, np.random.Generator]:
        """What draws numbers, but for the model's generator, which the position has."""
        found = {"shared": random.generator()}
        for layer in self.model.layers:
            if layer._rng is not None and layer._rng is not self.model._rng:
                found[layer.name] = layer._rng
        return found

    def _fit(self) -> Config:
        return {name: self.params[name] for name in ("batch_size", "samples", "steps")}


def _layers(metadata: Config) -> Any:
    return metadata["model"]["config"]["layers"]


def _without_switches(metadata: Config) -> Any:
    """The layers, but for what may be switched while training."""
    switches = ("trainable", "lr_multiplier")
    return [
        [layer["class_name"], {k: v for k, v in layer["config"].items() if k not in switches}]
        for layer in _layers(metadata)
    ]


def _without_rate(metadata: Config) -> Any:
    """The optimizer, but for a learning rate that is a number: callbacks may have changed that."""
    optimizer = metadata["compile"]["optimizer"]
    settings = dict(optimizer["config"])
    if isinstance(settings["lr"], (int, float)):
        settings["lr"] = None
    return [optimizer["class_name"], settings]


def _text(settings: Any) -> str:
    """Settings as a file has them: tuples are lists there."""
    return configs.to_json(settings)
