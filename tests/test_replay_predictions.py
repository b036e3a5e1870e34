"""Predictions that are done again must be those that would have been made, to the last bit."""

from __future__ import annotations

import copy
import gc
import os
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import programs_of, written_to
from together import team_taken, together

import minnet
from minnet import (
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Layer,
    MaxPooling2D,
    Sequential,
    Tensor,
)
from minnet.kernels import memory
from minnet.kernels.memory import COMMON, SMALLEST
from minnet.kernels.panels import flat
from minnet.kernels.products import compiles
from minnet.program import Program, Team, run, writing
from minnet.recording import training_mode
from minnet.replay import KINDS
from minnet.several import as_tensors
from minnet.tensor import Array

pytestmark = pytest.mark.skipif(not compiles(), reason="what is not compiled is not written down")

TIMES = 5
SIDE = 40


def images(rows: int = 4, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((rows, SIDE, SIDE, 3), np.float32)


def network(*more: Any, **options: Any) -> Sequential:
    """Its arrays are blocks of the pools."""
    layers = [
        Conv2D(48, 3, padding="same", activation="relu", input_shape=(SIDE, SIDE, 3)),
        Conv2D(48, 3, padding="same", activation="relu"),
        *more,
        Conv2D(48, 3, padding="same", activation="relu"),
        MaxPooling2D(4),
        Flatten(),
        Dense(5, activation="softmax"),
    ]
    return Sequential(layers, seed=1, **options)


def written(model: Any) -> list[Program]:
    """What was written down of its predictions."""
    return programs_of(model.replays._predictions)


def anew(model: Any, x: Any) -> Any:
    """What it predicts if nothing is done again."""
    with minnet.no_grad():
        return model.forward(as_tensors(model.prepare_inputs(x))).data


def assert_same(model: Any, inputs: Callable[[int], Any] = lambda k: images(seed=k)) -> None:
    for k in range(TIMES):
        x = inputs(k)
        np.testing.assert_array_equal(model.predict(x), anew(model, x))


# -- what is done again ----------------------------------------------------------------------------


def test_predictions_are_the_same_to_the_last_bit() -> None:
    model = network()
    assert_same(model)
    assert len(written(model)) == 1


@pytest.mark.parametrize("layer", [BatchNormalization, lambda: Dropout(0.5), Conv2D])
def test_other_layers(layer: Any) -> None:
    model = network(layer(7, 1) if layer is Conv2D else layer())
    assert_same(model)
    assert written(model)


def test_a_loss_of_ones_own_does_not_matter() -> None:
    model = network()
    model.compile("sgd", lambda y, p: ((y - p) ** 2).mean())
    assert_same(model)
    assert written(model)


def test_indices() -> None:
    model = Sequential([Embedding(9, 4, input_length=6), Flatten(), Dense(3)], seed=0)
    assert_same(model, lambda k: np.random.default_rng(k).integers(0, 9, (5, 6)))
    assert written(model)
    with pytest.raises(minnet.errors.MinnetError, match="9"):
        model.predict(np.full((5, 6), 9))


def test_several_inputs_and_outputs() -> None:
    a, b = minnet.Input((6,), name="a"), minnet.Input((4,), name="b")
    both = minnet.Concatenate()([Dense(5, activation="relu")(a), b])
    model = minnet.Model([a, b], [Dense(3)(both), Dense(2)(both)], seed=0)
    rng = np.random.default_rng(0)
    for _ in range(TIMES):
        x = [rng.standard_normal((3, n)).astype(np.float32) for n in (6, 4)]
        for found, wanted in zip(model.predict(x), anew(model, x).parts, strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert written(model)


@settings(max_examples=10)
@given(st.lists(st.integers(1, 5), min_size=3, max_size=12))
def test_batches_of_several_sizes(sizes: list[int]) -> None:
    model = network()
    x = images(sum(sizes))
    wanted = anew(model, x)
    start = 0
    for size in sizes:
        found = model.predict(x[start : start + size])
        np.testing.assert_allclose(found, wanted[start : start + size], rtol=1e-5, atol=1e-6)
        start += size


def test_nothing_depends_on_what_the_arrays_held_before() -> None:
    """What is written to is filled with NaN: a calculation that was not written down shows."""
    model = network(BatchNormalization())
    for k in range(TIMES):
        for program in written(model):
            for array in written_to(program):
                array.fill(np.nan)
        x = images(seed=k)
        np.testing.assert_array_equal(model.predict(x), anew(model, x))
    assert written(model)


def test_predictions_that_others_hold_stay_as_they_are() -> None:
    model = network()
    found = [model.predict(images(seed=k)) for k in range(TIMES)]
    for k, y in enumerate(found):
        np.testing.assert_array_equal(y, anew(model, images(seed=k)))


# -- evaluations -----------------------------------------------------------------------------------


def measured(model: Any) -> list[Program]:
    return programs_of(model.replays._measures)


def assert_same_measures(model: Any, of_rows: bool = False, weighed: bool = False) -> None:
    """``of_rows``: targets are rows of ones and zeros, not labels."""
    other = copy.deepcopy(model)
    other.replays.measures = lambda *_: None
    weights = np.arange(4) / 4 if weighed else None
    for k in range(TIMES):
        labels = np.random.default_rng(k).integers(0, 5, 4)
        batch = images(seed=k), np.eye(5)[labels] if of_rows else labels
        ours, theirs = (m.evaluate(*batch, sample_weight=weights) for m in (model, other))
        assert ours == theirs


@pytest.mark.parametrize("metrics", [[], ["accuracy"]])
@pytest.mark.parametrize("weighed", [False, True])
def test_evaluations(metrics: list[str], weighed: bool) -> None:
    model = network(Dropout(0.5), BatchNormalization())
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=metrics)
    assert_same_measures(model, weighed=weighed)
    assert measured(model)


def test_evaluations_with_a_penalty_and_a_loss_that_is_not_fused() -> None:
    model = network(Conv2D(8, 1, kernel_regularizer="l2"))
    model.compile("sgd", lambda y, p: ((y - p) ** 2).mean(), metrics=["accuracy"])
    assert_same_measures(model, of_rows=True)
    assert not measured(model)
    model.compile("sgd", "mse", metrics=["accuracy"])
    assert_same_measures(model, of_rows=True)
    assert measured(model)


def test_validation_while_training() -> None:
    x, y = images(24), np.arange(24) % 5
    histories = []
    for anew_each_time in (False, True):
        model = network()
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        if anew_each_time:
            model.replays.measures = lambda *_: None
        done = model.fit(x, y, 4, epochs=3, verbose=0, validation_data=(x[::-1].copy(), y[::-1]))
        histories.append(done.history)
    assert histories[0] == histories[1]


def test_large_numbers_meet_a_large_layer() -> None:
    model = Sequential([Dense(1100, input_shape=(1000,)), Dense(3)], seed=0)

    def inputs(k: int) -> Array:
        x = np.random.default_rng(k).standard_normal((4, 1000), np.float32)
        return x * np.float32(1e30 if k % 2 else 1)

    anew(model, inputs(0))  # from the second time on the weights are arranged
    for k in range(TIMES):
        x = inputs(k)
        found = model.predict(x)
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found, anew(model, x))
    assert written(model)


# -- memory ----------------------------------------------------------------------------------------


def test_blocks_are_used_again_in_a_program() -> None:
    """Five convolutions need no more at once than three: their input, their output, their work."""

    def total(*more: Any) -> int:
        model = network(*more)
        assert_same(model)
        (program,) = written(model)
        return program.blocks._total

    few, many = total(), total(*[Conv2D(48, 3, padding="same") for _ in range(3)])
    assert few > SMALLEST
    assert many == few


@pytest.mark.parametrize("as_given", [flat, lambda array: array])
def test_what_is_only_read_is_not_used_again(as_given: Callable[[Array], Array]) -> None:
    def place(block: Array) -> int:
        return int(block.__array_interface__["data"][0])

    def nothing(*_: Any) -> None:
        """A calculation."""

    program = Program([])
    with writing(program):
        read = memory.empty((SMALLEST,), np.uint8)
        run(nothing, np.empty(1), as_given(read))
        where = place(read)
        del read
        written = memory.empty((SMALLEST,), np.uint8)
        assert place(written) != where
        run(nothing, written)
        where = place(written)
        del written
        assert place(memory.empty((SMALLEST,), np.uint8)) == where


def test_weights_are_arranged_once_and_not_by_the_program() -> None:
    model = network()
    assert_same(model)
    (program,) = written(model)
    names = [getattr(function, "__name__", "") for function, _ in program._calls]
    assert not any("transform" in name or "pack" in name for name in names), names


def test_a_model_and_its_programs_die_together() -> None:
    model = network()
    assert_same(model)
    program = weakref.ref(written(model)[0])
    del model
    gc.collect()
    assert program() is None


def test_what_needs_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minnet.program.MOST", 2 << 20)
    model = network()
    assert_same(model)
    assert not written(model)
    assert None in model.replays._predictions._kinds.values()  # and nothing is kept of it
    assert memory.CHOSEN.pool is COMMON


def test_no_more_than_a_few_kinds_are_kept() -> None:
    model = network()
    for rows in (1, 2, 3, 4, 5, 6, 1):
        assert_same(model, lambda k, rows=rows: images(rows, k))  # type: ignore[misc]
        assert written(model)
        assert len(model.replays._predictions._kinds) <= KINDS


# -- what changes between predictions --------------------------------------------------------------


def test_new_weights() -> None:
    model = network()
    for _ in range(3):
        assert_same(model)
        assert written(model)
        model.set_weights([w * 1.5 for w in model.get_weights()])


def test_a_weight_that_is_edited_in_its_place() -> None:
    model = network()
    for k in range(TIMES):
        x = images(seed=k)
        np.testing.assert_array_equal(model.predict(x), anew(model, x))
        model.layers[0].parameters["bias"].data[k] += 0.5
    assert written(model)


def test_weights_in_memory_of_others_that_are_edited() -> None:
    model = network()
    kernel = next(iter(model.layers[1].parameters.values()))
    theirs = np.frombuffer(bytearray(kernel.data.tobytes()), np.float32).reshape(kernel.shape)
    kernel.data = theirs
    for k in range(TIMES):
        x = images(seed=k)
        np.testing.assert_array_equal(model.predict(x), anew(model, x))
        theirs[k % 3] += 0.01
    assert written(model)


def test_training_between() -> None:
    model = network()
    model.compile("sgd", "sparse_categorical_crossentropy")
    for k in range(3):
        assert_same(model)
        assert_same_measures(model)
        assert written(model) and measured(model)
        model.train_on_batch(images(seed=k), np.arange(4))
        assert not written(model) and not measured(model)


def test_layers_that_come_and_go() -> None:
    model = network()
    assert_same(model)
    last = model.layers[-1]
    model.pop()
    assert_same(model)
    model.add(last)
    assert_same(model)


def test_a_setting_that_is_changed() -> None:
    model = network()
    assert_same(model)
    model.layers[-1].activation = None
    model.layers[-1].activation_name = "linear"
    assert_same(model)


class Around(Layer):
    """A steady layer made of others, which it calls itself."""

    steady = True

    def __init__(self, *inner: Layer, **options: Any):
        super().__init__(**options)
        self.first, self.others = inner[0], list(inner[1:])
        self.itself = self

    def build(self, input_shape: Any) -> Any:
        for layer in (self.first, *self.others):
            input_shape = layer.set_up(input_shape, self.dtype, self._rng)
            for name, parameter in layer.parameters.items():
                self.parameters[f"{layer.name}_{name}"] = parameter
        return input_shape

    def call(self, x: Any) -> Any:
        for layer in (self.first, *self.others):
            x = layer(x)
        return x


@pytest.mark.parametrize("place", [0, 1])
def test_a_setting_of_a_layer_inside_a_layer_that_is_changed(place: int) -> None:
    inner = [Dense(4, "relu", name="a"), Dense(4, "relu", name="b")]
    model = Sequential([Around(Around(inner[0]), inner[1], input_shape=(3,)), Dense(2)], seed=0)

    def inputs(k: int) -> Array:
        return np.random.default_rng(k).standard_normal((4, 3), np.float32)

    assert_same(model, inputs)
    assert written(model)
    inner[place].activation_name, inner[place].activation = "linear", None
    assert_same(model, inputs)
    assert written(model)


def test_a_copy_has_programs_of_its_own() -> None:
    model = network()
    assert_same(model)
    other = copy.deepcopy(model)
    assert not written(other)
    model.set_weights([w * 2 for w in model.get_weights()])
    assert_same(other)
    assert_same(model)


# -- what is not done again ------------------------------------------------------------------------


class Noise(Layer):
    """Does something else each time, and does not say that it does not."""

    def call(self, x: Any) -> Any:
        return x + float(np.random.default_rng().random())


class Outside(Layer):
    """Promises to be steady, and calculates without operations."""

    steady = True

    def call(self, x: Any) -> Any:
        return Tensor(np.tanh(x.data))


@pytest.mark.parametrize("make", [Noise, Outside])
def test_layers_that_are_refused(make: Any) -> None:
    model = Sequential([Dense(4, input_shape=(3,)), make()], seed=0)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(TIMES):
        x = rng.standard_normal((2, 3)).astype(np.float32)
        found.append(model.predict(x))
        if make is Outside:
            np.testing.assert_array_equal(found[-1], anew(model, x))
    assert not written(model)


def test_a_promise_that_is_followed_by_an_operation_is_refused_too() -> None:
    model = Sequential([Outside(input_shape=(3,)), Dense(4)], seed=0)
    assert_same(model, lambda k: np.random.default_rng(k).standard_normal((2, 3)))
    assert not written(model)


def test_a_model_that_predicts_inside_another_one() -> None:
    class Asking(Layer):
        steady = True

        def call(self, x: Any) -> Any:
            inner = Sequential([Dense(3, input_shape=(3,))], seed=1)
            found = [inner.predict(x.data) for _ in range(3)]
            return x * Tensor(found[-1])

    model = Sequential([Asking(input_shape=(3,)), Dense(4)], seed=0)
    assert_same(model, lambda k: np.random.default_rng(k).standard_normal((2, 3)))
    assert not written(model)


def test_dropout_in_training_mode_draws_anew() -> None:
    model = network(Dropout(0.5))
    assert_same(model)
    x = images()
    with training_mode():
        assert (model.predict(x) != model.predict(x)).any()


def test_float64_is_worked_out() -> None:
    model = network(dtype=np.float64)
    assert_same(model)
    assert not written(model)


# -- threads and processes -------------------------------------------------------------------------


def test_several_threads_of_python() -> None:
    model = network()
    wanted = [anew(model, images(seed=k)) for k in range(4)]
    wrong: list[int] = []

    def work(k: int) -> None:
        for _ in range(20):
            if not np.allclose(model.predict(images(seed=k)), wanted[k], rtol=1e-5, atol=1e-6):
                wrong.append(k)

    together(work, range(4))
    assert not wrong


def test_new_weights_while_another_thread_writes_it_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come after it has been calculated, and before it is known as written down."""
    model = network()
    forward = model.forward

    def slow(x: Any, as_scores: bool = False) -> Any:
        y = forward(x, as_scores)
        model.set_weights([w * 1.5 for w in model.get_weights()])
        return y

    assert_same(model)
    model.set_weights(model.get_weights())
    with monkeypatch.context() as patch:
        patch.setattr(model, "forward", slow)
        model.predict(images())
    assert_same(model)
    assert written(model)


def test_new_weights_while_another_thread_is_about_to_do_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That one finds it written down anew when its turn comes."""
    model = network()
    assert_same(model)
    lock = Team.lock

    class Late:
        release = staticmethod(lock.release)

        @staticmethod
        def acquire(blocking: bool) -> bool:
            monkeypatch.setattr(Team, "lock", lock)
            model.set_weights([w * 1.5 for w in model.get_weights()])
            model.predict(images(seed=9))
            return lock.acquire(blocking=blocking)

    x = images(seed=8)
    monkeypatch.setattr(Team, "lock", Late)
    found = model.predict(x)
    np.testing.assert_array_equal(found, anew(model, x))


def test_nothing_is_written_while_the_threads_work_for_someone_else() -> None:
    model = network()
    with team_taken():
        assert_same(model)
        assert not written(model)
    assert_same(model)
    assert written(model)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_in_a_forked_process() -> None:
    model = network()
    assert_same(model)
    child = os.fork()
    if not child:
        x = images(seed=7)
        same = all(np.allclose(model.predict(x), anew(model, x), rtol=1e-5) for _ in range(TIMES))
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
