"""Optimizers step by step: against PyTorch, against NumPy, and what they remember of whom."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minnet import Dense, Sequential, optimizers
from minnet.errors import ArgumentError, ShapeError
from minnet.optimizers import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    EpochAdagrad,
    Eve,
    Optimizer,
    RMSprop,
)
from minnet.schedules import AdamAnnealing, CosineDecay
from minnet.tensor import Array, Tensor, wrap

RNG = np.random.default_rng(0)
STEPS = 100
SHAPES = (3, 2), (4,)
FIRST = [RNG.normal(size=shape) for shape in SHAPES]
AIMS = [RNG.normal(size=shape) for shape in SHAPES]
STEEP = [RNG.uniform(0.2, 2, shape) for shape in SHAPES]
NOISE = [[0.3 * RNG.normal(size=shape) for shape in SHAPES] for _ in range(STEPS)]


def slopes(step: int, weights: list[Array]) -> list[Array]:
    """The gradients of a noisy bowl, which depend on where one is: differences would add up."""
    return [k * (w - a) + n for k, w, a, n in zip(STEEP, weights, AIMS, NOISE[step], strict=True)]


def by_minnet(
    optimizer: Optimizer, before: Callable[[int], None] = lambda step: None, loss: Any = None
) -> list[list[Array]]:
    """The weights after each step."""
    parameters = [Tensor(w, requires_grad=True, name=f"p{i}") for i, w in enumerate(FIRST)]
    path = []
    for step in range(STEPS):
        before(step)
        gradients = [wrap(g) for g in slopes(step, [p.data for p in parameters])]
        optimizer.step(parameters, gradients, None if loss is None else loss(step))
        path.append([p.numpy() for p in parameters])
    return path


def assert_same_path(found: list[list[Array]], expected: list[list[Array]]) -> None:
    for step, (a, b) in enumerate(zip(found, expected, strict=True)):
        for w, v in zip(a, b, strict=True):
            np.testing.assert_allclose(w, v, rtol=1e-11, atol=1e-12, err_msg=f"step {step}")


# -- PyTorch ---------------------------------------------------------------------------------------

# PyTorch adds epsilon to the root, Keras (and minnet) under it, or to an uncorrected root: without
# any the two agree. Adadelta's stands in one place in both.
BY_TORCH: dict[str, tuple[Optimizer, str, dict[str, Any]]] = {
    "sgd": (SGD(0.05), "SGD", {"lr": 0.05}),
    "momentum": (SGD(0.05, 0.9), "SGD", {"lr": 0.05, "momentum": 0.9}),
    "nesterov": (
        SGD(0.05, 0.9, nesterov=True),
        "SGD",
        {"lr": 0.05, "momentum": 0.9, "nesterov": True},
    ),
    "adagrad": (
        Adagrad(0.5, epsilon=0),
        "Adagrad",
        {"lr": 0.5, "initial_accumulator_value": 0.1, "eps": 0},
    ),
    "adagrad, decaying": (
        Adagrad(0.5, epsilon=0, decay=0.1),
        "Adagrad",
        {"lr": 0.5, "initial_accumulator_value": 0.1, "eps": 0, "lr_decay": 0.1},
    ),
    "rmsprop": (RMSprop(0.02, epsilon=0), "RMSprop", {"lr": 0.02, "alpha": 0.9, "eps": 0}),
    "rmsprop, all on": (
        RMSprop(0.02, 0.95, 0.8, 0, centered=True),
        "RMSprop",
        {"lr": 0.02, "alpha": 0.95, "momentum": 0.8, "eps": 0, "centered": True},
    ),
    "adadelta": (
        Adadelta(1.0, 0.9, 1e-3),
        "Adadelta",
        {"lr": 1.0, "rho": 0.9, "eps": 1e-3},
    ),
    "adam": (Adam(0.05, epsilon=0), "Adam", {"lr": 0.05, "eps": 0}),
    "adamw": (
        AdamW(0.05, 0.1, beta_1=0.8, beta_2=0.99, epsilon=0),
        "AdamW",
        {"lr": 0.05, "betas": (0.8, 0.99), "eps": 0, "weight_decay": 0.1},
    ),
}


def by_torch(kind: str, options: dict[str, Any], clip: float | None = None) -> list[list[Array]]:
    torch = pytest.importorskip("torch")
    parameters = [torch.tensor(w, requires_grad=True) for w in FIRST]
    theirs = getattr(torch.optim, kind)(parameters, **options)
    path = []
    for step in range(STEPS):
        now = [p.detach().numpy() for p in parameters]
        for p, g in zip(parameters, slopes(step, now), strict=True):
            p.grad = torch.tensor(g)
        if clip is not None:
            torch.nn.utils.clip_grad_value_(parameters, clip)
        theirs.step()
        path.append([p.detach().numpy().copy() for p in parameters])
    return path


@pytest.mark.parametrize("name", BY_TORCH)
def test_as_pytorch_does(name: str) -> None:
    ours, kind, options = BY_TORCH[name]
    assert_same_path(by_minnet(copy.deepcopy(ours)), by_torch(kind, options))


def test_clipvalue_as_pytorch_does() -> None:
    assert_same_path(by_minnet(SGD(0.05, clipvalue=0.5)), by_torch("SGD", {"lr": 0.05}, clip=0.5))


@pytest.mark.parametrize("eps", [1e-8, 0.01])
def test_adam_with_pytorchs_epsilon(eps: float) -> None:
    """PyTorch adds it to the corrected root, so ours must shrink with the correction."""
    adam = Adam(0.05)

    def before(step: int) -> None:
        adam.epsilon = eps * (1 - 0.999 ** (step + 1)) ** 0.5

    assert_same_path(by_minnet(adam, before), by_torch("Adam", {"lr": 0.05, "eps": eps}))


# -- NumPy, written out ----------------------------------------------------------------------------

E = 0.01  # an epsilon that shows


def losses(step: int) -> float:
    return float(2 + np.sin(step))


def numpy_path(move: Callable[..., Array]) -> list[list[Array]]:
    """``move(w, g, memory, step)`` gives the new weights; ``memory``: a dict for each parameter."""
    weights, memories, path = [w.copy() for w in FIRST], [{}, {}], []  # type: ignore[var-annotated]
    for step in range(STEPS):
        gradients = slopes(step, weights)
        weights = [
            move(w, g, m, step) for w, g, m in zip(weights, gradients, memories, strict=True)
        ]
        path.append(weights)
    return path


def adagrad(w: Array, g: Array, memory: Any, step: int) -> Array:
    memory["s"] = memory.get("s", 0.3) + g**2
    return w - 0.5 * g / np.sqrt(memory["s"] + E)


def epoch_adagrad(w: Array, g: Array, memory: Any, step: int) -> Array:
    memory.setdefault("past", []).append(g)
    epoch = step // 10
    scale = (
        5.0 if epoch == 0 else np.sqrt(sum(p**2 for p in memory["past"][epoch * 10 - 10 :][:10]))
    )
    return w - 0.1 * g / ((scale if epoch == 0 else scale / 10) + E)


def rmsprop(w: Array, g: Array, memory: Any, step: int) -> Array:
    memory["s"] = 0.9 * memory.get("s", 0) + 0.1 * g**2
    return w - 0.02 * g / np.sqrt(memory["s"] + E)


def adam(
    w: Array, g: Array, memory: Any, step: int, corrected: bool = True, lr: float = 0.05
) -> Array:
    memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * g
    memory["v"] = 0.99 * memory.get("v", 0) + 0.01 * g**2
    if corrected:
        lr *= np.sqrt(1 - 0.99 ** (step + 1)) / (1 - 0.9 ** (step + 1))
    return w - lr * memory["m"] / (np.sqrt(memory["v"]) + E)


def eve(w: Array, g: Array, memory: Any, step: int, clipped: bool = True) -> Array:
    d = memory.get("d", 1.0)
    if step:
        a, b = losses(step), losses(step - 1)
        r = abs(a - b) / min(a, b)
        d = memory["d"] = 0.9 * d + 0.1 * (np.clip(r, 0.2, 0.5) if clipped else r)
    return adam(w, g, memory, step, lr=0.05 / d)


def clipped_by_norm(w: Array, g: Array, memory: Any, step: int) -> Array:
    return w - 0.05 * g * min(1.0, 0.7 / np.sqrt((g**2).sum()))


BY_HAND: dict[str, tuple[Optimizer, Callable[..., Array]]] = {
    "adagrad": (Adagrad(0.5, 0.3, E), adagrad),
    "epoch adagrad": (EpochAdagrad(0.1, 10, 5.0, E), epoch_adagrad),
    "rmsprop": (RMSprop(0.02, epsilon=E), rmsprop),
    "adam": (Adam(0.05, 0.9, 0.99, E), adam),
    "adam, not corrected": (
        Adam(0.05, 0.9, 0.99, E, bias_correction=False),
        lambda *x: adam(*x, corrected=False),
    ),
    "eve": (Eve(0.05, 0.9, (0.2, 0.5), beta_2=0.99, epsilon=E), eve),
    "eve, no limits": (
        Eve(0.05, 0.9, None, beta_2=0.99, epsilon=E), lambda *x: eve(*x, clipped=False)
    ),
    "decay": (SGD(0.05, decay=0.1), lambda w, g, m, t: w - 0.05 / (1 + 0.1 * t) * g),
    "clipnorm": (SGD(0.05, clipnorm=0.7), clipped_by_norm),
    "schedule": (
        SGD(CosineDecay(0.05, 60, 0.1)),
        lambda w, g, m, t: w - 0.05 * (0.55 + 0.45 * np.cos(np.pi * min(t / 60, 1))) * g,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_as_written_out_in_numpy(name: str) -> None:
    ours, move = BY_HAND[name]
    assert_same_path(by_minnet(copy.deepcopy(ours), loss=losses), numpy_path(move))


ALL: dict[str, Callable[..., Optimizer]] = {
    "sgd": SGD,
    "momentum": lambda lr: SGD(lr, 0.9),
    "nesterov": lambda lr: SGD(lr, 0.9, nesterov=True, clipnorm=0.5),
    "adagrad": Adagrad,
    "epochadagrad": lambda lr: EpochAdagrad(lr, 3, 1.0),
    "adadelta": Adadelta,
    "rmsprop": lambda lr: RMSprop(lr, momentum=0.5, centered=True, clipvalue=0.5),
    "adam": Adam,
    "adam without correction": lambda lr: Adam(lr, bias_correction=False, decay=0.1),
    "adamw": AdamW,
    "eve": Eve,
    "annealed": lambda lr: Adam(AdamAnnealing(lr, 2, growth=0.9)),
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 3), (1,), ()])
def test_dtype_and_shape_stay_and_arrays_are_new(name: str, dtype: Any, shape: Any) -> None:
    parameter = Tensor(np.ones(shape, dtype), requires_grad=True)
    optimizer = ALL[name](np.float64(0.5))
    seen = []
    for step in range(4):
        seen.append((parameter.data, parameter.numpy()))
        optimizer.step([parameter], [wrap(np.full(shape, step - 1.5, dtype))], 2.0 + step)
        assert (parameter.dtype, parameter.shape) == (dtype, shape)
        for value in optimizer.state_of(parameter).values():
            assert isinstance(value, int) or (value.dtype, value.shape) == (dtype, shape)
    for array, numbers in seen:  # a graph may hold them
        np.testing.assert_array_equal(array, numbers)
    assert optimizer.iterations == 4


# -- all parameters at once ------------------------------------------------------------------------


def at_once(
    optimizer: Optimizer, between: Callable[[int, list[Tensor]], None], together: bool
) -> list[Any]:
    """What there is after some steps: the parameters, and what is remembered of them."""
    parameters = [Tensor(w, requires_grad=True, name=f"p{i}") for i, w in enumerate(FIRST)]
    for step in range(6):
        found = slopes(step, [p.data for p in parameters])
        if together:
            flat = np.concatenate([g.reshape(-1) for g in found])
            optimizer.step_at_once(parameters, flat, 2.0 + step)
        else:
            optimizer.step(parameters, [wrap(g) for g in found], 2.0 + step)
        between(step, parameters)
    return [*[p.data for p in parameters], *optimizer.state_arrays().values()]


def nothing(step: int, parameters: list[Tensor]) -> None:
    pass


def assert_the_same_at_once(
    make: Callable[[], Optimizer], between: Callable[[int, list[Tensor]], None] = nothing
) -> None:
    one_by_one, together = at_once(make(), between, False), at_once(make(), between, True)
    for a, b in zip(one_by_one, together, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("name", ALL)
def test_all_at_once_is_one_by_one_to_the_last_bit(name: str) -> None:
    assert_the_same_at_once(lambda: ALL[name](0.05))


def test_at_once_after_weights_were_changed_in_between() -> None:
    def between(step: int, parameters: list[Tensor]) -> None:
        first, second = parameters
        if step == 1:
            second.data = second.data * 2
        elif step == 2:
            second.data[0] = 7.0  # in its place
        elif step == 3:
            first.data = first.data.copy()

    assert_the_same_at_once(lambda: Adam(0.1), between)


def test_at_once_after_two_parameters_have_changed_places() -> None:
    found = []
    for together in (False, True):
        a, b = (Tensor(np.full(3, v), requires_grad=True, name=str(v)) for v in (1.0, 2.0))
        optimizer = SGD(0.5)
        for _ in range(3):
            if together:
                optimizer.step_at_once([a, b], np.array([1.0] * 3 + [10.0] * 3))
            else:
                optimizer.step([a, b], [wrap(np.full(3, 1.0)), wrap(np.full(3, 10.0))])
            a.data, b.data = b.data, a.data
        found.append((a.data.tolist(), b.data.tolist()))
    assert found[0] == found[1]


def test_at_once_where_parameters_have_rates_or_counts_of_their_own() -> None:
    class Scaled(Adam):
        """Looks at a parameter as a whole, and does not say itself that it does not."""

        def update(self, parameter: Any, gradient: Any, lr: Any, state: Any) -> Any:
            return super().update(parameter, gradient / np.abs(gradient).max(), lr, state)

    def slower(step: int, parameters: list[Tensor]) -> None:
        parameters[1].lr_multiplier = 0.5

    assert_the_same_at_once(lambda: SGD(0.1, momentum=0.9), slower)
    assert_the_same_at_once(lambda: Scaled(0.1))
    late = [Tensor(w, requires_grad=True, name=f"p{i}") for i, w in enumerate(FIRST)]
    other = [Tensor(w, requires_grad=True, name=f"p{i}") for i, w in enumerate(FIRST)]
    ours, theirs = Adam(0.1), Adam(0.1)
    first = np.ones(FIRST[0].shape)
    ours.step(late[:1], [wrap(first)])  # the other one is thawed after this
    theirs.step(other[:1], [wrap(first)])
    ours.step_at_once(late, np.ones(first.size + FIRST[1].size))
    theirs.step(other, [wrap(first), wrap(np.ones(FIRST[1].shape))])
    for a, b in zip(late, other, strict=True):
        np.testing.assert_array_equal(a.data, b.data)


def test_a_copy_of_an_optimizer_shares_nothing() -> None:
    parameters = [Tensor(w, requires_grad=True, name=f"p{i}") for i, w in enumerate(FIRST)]
    optimizer, flat = SGD(0.1, momentum=0.9), np.ones(sum(w.size for w in FIRST))
    optimizer.step_at_once(parameters, flat)
    others, copied = copy.deepcopy((parameters, optimizer))
    before = [p.data.copy() for p in others]
    optimizer.step_at_once(parameters, flat)
    for other, old in zip(others, before, strict=True):
        np.testing.assert_array_equal(other.data, old)
    copied.step_at_once(others, flat)
    for ours, theirs in zip(parameters, others, strict=True):
        np.testing.assert_array_equal(ours.data, theirs.data)


# -- in a model ------------------------------------------------------------------------------------

X, Y = RNG.normal(size=(12, 3)), RNG.integers(0, 2, 12)


def classifier(optimizer: Any = "adam", dtype: Any = np.float64) -> Sequential:
    model = Sequential([Dense(4, "tanh", input_dim=3), Dense(2, "softmax")], seed=0, dtype=dtype)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def train(model: Sequential, steps: int = 1) -> list[Array]:
    for _ in range(steps):
        model.train_on_batch(X, Y)
    return model.get_weights()


def same(a: list[Array], b: list[Array]) -> bool:
    return all(np.array_equal(v, w) for v, w in zip(a, b, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_training_lowers_the_loss(name: str) -> None:
    # A weight whose gradient was near 0 for an epoch leaps with EpochAdagrad: a small rate.
    model = classifier(ALL[name]({"adadelta": 1.0, "epochadagrad": 0.003}.get(name, 0.05)))
    before = model.evaluate(X, Y)
    train(model, 60)
    assert model.evaluate(X, Y) < 0.98 * before


@pytest.mark.parametrize("name", ALL)
def test_going_on_from_saved_state_is_as_if_nothing_happened(name: str) -> None:
    whole, first = classifier(ALL[name](0.05), np.float32), classifier(ALL[name](0.05), np.float32)
    train(first, 5)
    state, config = first.optimizer.state_arrays(), first.optimizer.config()
    assert state["iterations"] == 5
    assert all(isinstance(a, np.ndarray) for a in state.values())
    second = classifier(
        type(first.optimizer).from_config(json.loads(json.dumps(config))), np.float32
    )
    second.set_weights(first.get_weights())
    second.optimizer.load_state_arrays(state)
    again = second.optimizer.state_arrays()  # before any parameter has claimed its part
    assert again.keys() == state.keys()
    assert all(np.array_equal(state[k], again[k]) for k in state)
    assert same(train(second, 5), train(whole, 10))
    assert second.optimizer.config() == config


def test_compiling_again_starts_afresh() -> None:
    adam = Adam(AdamAnnealing(0.05, 2))
    model = classifier(adam)
    start, first = model.get_weights(), train(model, 5)
    model.set_weights(start)
    model.compile(adam, "sparse_categorical_crossentropy")
    assert adam.iterations == 0 and not adam.slots
    assert same(train(model, 5), first)


def test_a_frozen_layer_keeps_its_state_and_its_count() -> None:
    model = classifier()
    hidden = model.layers[0]
    train(model, 3)
    before, state = hidden.parameters["weight"].numpy(), model.optimizer.state_arrays()
    hidden.trainable = False
    train(model, 2)
    now = model.optimizer.state_arrays()
    assert (hidden.parameters["weight"].data == before).all()
    assert (now["dense_1_weight/m"] == state["dense_1_weight/m"]).all()
    hidden.trainable = True
    train(model)
    now = model.optimizer.state_arrays()
    assert (now["dense_1_weight/steps"], now["dense_2_weight/steps"], now["iterations"]) == (
        4,
        6,
        6,
    )


def test_a_layer_unfrozen_late_makes_a_step_of_the_usual_length() -> None:
    """Its means start at 0 when the others' are long since full: it is corrected on its own."""
    model = classifier(Adam(0.01, epsilon=0))
    model.layers[0].trainable = False
    train(model, 50)
    before = model.layers[0].parameters["weight"].numpy()
    model.layers[0].trainable = True
    train(model)
    moved = np.abs(model.layers[0].parameters["weight"].data - before)
    np.testing.assert_allclose(moved, 0.01, rtol=1e-3)


def test_a_popped_layer_is_forgotten_and_its_successor_starts_afresh() -> None:
    model = classifier()
    train(model, 3)
    popped = model.pop()
    assert len(model.optimizer.slots) == 2
    model.add(Dense(2, "softmax"))
    train(model)
    state = model.optimizer.state_arrays()
    assert (state["dense_1_weight/steps"], state["dense_2_weight/steps"]) == (4, 1)
    model.pop()
    model.add(popped)
    train(model)
    assert model.optimizer.state_arrays()["dense_2_weight/steps"] == 1


def test_new_weights_keep_the_state() -> None:
    model = classifier()
    train(model, 3)
    model.set_weights([w * 0 for w in model.get_weights()])
    train(model)
    assert model.optimizer.state_arrays()["dense_1_weight/steps"] == 4


def test_a_copy_in_another_dtype_goes_on_from_the_same_state() -> None:
    model = classifier(dtype=np.float32)
    train(model, 5)
    double = model.astype(np.float64)
    assert {v.dtype.char for s in double.optimizer.slots.values() for v in [s["m"], s["v"]]} == {
        "d"
    }
    assert double.optimizer.iterations == 5
    for a, b in zip(train(double, 3), train(model, 3), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert len(double.optimizer.slots) == 4


def test_lr_takes_effect_at_once_and_replaces_a_schedule() -> None:
    model = classifier(SGD(CosineDecay(0.1, 10)))
    train(model, 5)
    assert model.optimizer.lr == pytest.approx(0.05)
    assert model.optimizer.base_lr == 0.1
    model.optimizer.lr = 0.02
    assert model.optimizer.lr == model.optimizer.base_lr == 0.02
    before = model.get_weights()
    gradient = (before[0] - train(model)[0]) / 0.02
    model.set_weights(before)
    model.optimizer.lr = CosineDecay(0.4, 12)  # half of it has passed
    np.testing.assert_allclose(before[0] - train(model)[0], 0.2 * gradient)


def test_a_layers_own_multiplier() -> None:
    plain, slow = classifier(SGD(0.1)), classifier(SGD(0.1))
    slow.layers[0].lr_multiplier = 0.1
    slow.layers[1].lr_multiplier = 0
    start, full, part = plain.get_weights(), train(plain), train(slow)
    np.testing.assert_allclose(part[0] - start[0], 0.1 * (full[0] - start[0]))
    assert same(part[2:], start[2:])
    assert [p.lr_multiplier for p in slow.astype(np.float32).parameters()] == [0.1, 0.1, 0, 0]
    unbuilt = Dense.from_config({**Dense(2).config(), "lr_multiplier": 0.5})
    assert Sequential([Dense(3, input_dim=2), unbuilt]).parameters()[-1].lr_multiplier == 0.5
    with pytest.raises(ArgumentError, match="'dense_1' lr_multiplier: expected a finite number >="):
        slow.layers[0].lr_multiplier = -1


# -- settings, and refusals ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_settings_make_an_equal_optimizer(name: str) -> None:
    one = ALL[name](0.05)
    described = {"class_name": type(one).__name__, "config": json.loads(json.dumps(one.config()))}
    other = optimizers.get(described)
    assert type(other) is type(one) and other.config() == one.config()


def test_names_and_keras_defaults() -> None:
    for name, kind in optimizers.OPTIMIZERS.items():
        made = optimizers.get(name.upper())
        assert type(made) is kind
        assert made.lr == (0.01 if name == "sgd" else 0.001)
    assert (AdamW().weight_decay, AdamW().beta_2, AdamW().epsilon) == (0.004, 0.999, 1e-7)
    assert (RMSprop().rho, Adadelta().rho, Adagrad().initial_accumulator_value) == (0.9, 0.95, 0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(momentum=1), "SGD momentum: expected a number from 0 .*received 1"),
        (lambda: SGD(nesterov=True), "SGD: expected momentum above 0 with nesterov=True"),
        (
            lambda: SGD(clipnorm=1, clipvalue=1),
            "SGD: expected clipnorm or clipvalue, received both",
        ),
        (lambda: SGD(clipnorm=0), "SGD clipnorm: expected a finite number above 0"),
        (lambda: SGD(decay=-1), "SGD decay: expected a finite number >= 0"),
        (lambda: AdamW(beta_1="x"), "AdamW beta_1: .*received 'x'"),
        (lambda: Adam(epsilon=np.nan), "Adam epsilon: .*received nan"),
        (lambda: EpochAdagrad(period=0), "EpochAdagrad period: expected a whole number >= 1"),
        (lambda: Eve(limits=(2, 1)), "Eve limits: expected the lower one first"),
        (lambda: Adadelta(epsilon=0), "Adadelta epsilon: expected a finite number above 0"),
    ],
)
def test_settings_out_of_range(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()


def test_state_that_does_not_fit_is_refused() -> None:
    model = classifier()
    train(model, 2)
    state = model.optimizer.state_arrays()
    with pytest.raises(ArgumentError, match="SGD's state: expected 'iterations' and, .*received"):
        SGD().load_state_arrays(state)
    kept = model.optimizer.slots
    for broken, message in [
        ({k: v for k, v in state.items() if k != "iterations"}, "expected 'iterations', rec"),
        ({k: v for k, v in state.items() if k != "dense_1_bias/v"}, "of dense_1_bias, received"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            model.optimizer.load_state_arrays(broken)
        assert model.optimizer.slots is kept
    model.optimizer.load_state_arrays({**state, "dense_1_bias/m": np.zeros(7)})
    with pytest.raises(ShapeError, match=r"dense_1_bias/m: expected shape \(4,\), received \(7,\)"):
        train(model)


def test_two_parameters_of_one_name_cannot_be_saved() -> None:
    pair = [Tensor([1.0], requires_grad=True, name="w") for _ in range(2)]
    momentum = SGD(0.1, 0.9)
    momentum.step(pair, [wrap(np.ones(1, np.float32))] * 2)
    with pytest.raises(ArgumentError, match="expected parameters of one name each, received two"):
        momentum.state_arrays()


@pytest.mark.parametrize("at_once", [False, True])
def test_a_setting_that_is_switched_on_too_late(at_once: bool) -> None:
    optimizer = optimizers.SGD(0.1)
    weight = Tensor(np.ones(2), requires_grad=True, name="w")
    slope = np.ones(2)

    def step() -> None:
        if at_once:
            optimizer.step_at_once([weight], slope)
        else:
            optimizer.step([weight], [Tensor(slope)])

    step()
    optimizer.momentum = 0.9
    with pytest.raises(ArgumentError, match="received no 'velocity' from the steps before"):
        step()
    optimizer.reset()
    step()
