"""Dropout, normalization, embedding, merging and regularizers: what the contract leaves open."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minnet
from minnet import layers, ops, regularizers
from minnet.autodiff import grad
from minnet.errors import ArgumentError, DtypeError, ShapeError
from minnet.layers import ACTIVATIONS, BatchNormalization, Dense, Dropout, Embedding
from minnet.recording import STATE, apply_deferred, training_mode
from minnet.tensor import Tensor

RNG = np.random.default_rng(0)


def tensor(*shape: int, dtype: Any = np.float64) -> Tensor:
    return Tensor(RNG.normal(size=shape).astype(dtype), requires_grad=True)


# -- training mode ---------------------------------------------------------------------------------


def test_training_mode_ends_with_its_block_even_by_an_error() -> None:
    with pytest.raises(KeyError), training_mode():
        assert STATE.training
        with training_mode():
            assert STATE.training
        assert STATE.training
        raise KeyError
    assert not STATE.training and STATE.deferred is None


def test_evaluate_and_predict_infer() -> None:
    model = minnet.Sequential([Dropout(0.9, input_shape=(50,))], dtype=np.float64)
    model.add(Dense(1, kernel_initializer="ones"))
    model.compile("sgd", "mse")
    x = RNG.normal(size=(4, 50))
    expected = x.sum(1, keepdims=True)
    np.testing.assert_allclose(model.predict(x), expected)
    assert model.evaluate(x, expected) == pytest.approx(0, abs=1e-20)
    assert model.train_on_batch(x, expected) > 1


# -- dropout ---------------------------------------------------------------------------------------


def test_dropout_keeps_the_share_and_the_expected_size() -> None:
    layer = Dropout(0.25)
    layer.set_up((400,), np.float64, np.random.default_rng(0))
    x = np.ones((200, 400))
    with training_mode():
        out = layer(Tensor(x)).data
    assert set(np.unique(out)) == {0, 1 / 0.75}
    assert np.mean(out == 0) == pytest.approx(0.25, abs=0.01)
    assert out.mean() == pytest.approx(1, abs=0.01)


def test_dropout_drops_its_gradient_with_the_number() -> None:
    layer, x = Dropout(0.5), tensor(5, 8)
    with training_mode():
        out = layer(x)
    gradient = grad(out.sum(), x).data
    np.testing.assert_array_equal(gradient, np.where(out.data == 0, 0, 2.0))


def test_dropout_can_be_repeated() -> None:
    def masks(seed: int | None) -> Any:
        layer = minnet.Sequential([Dropout(0.5, input_shape=(64,))], seed=seed).layers[0]
        with training_mode():
            return [layer(Tensor(np.ones((2, 64), np.float32))).data for _ in range(2)]

    np.testing.assert_array_equal(masks(7), masks(7))
    first, second = masks(7)
    assert not np.array_equal(first, second)
    minnet.seed(3)
    a = masks(None)
    minnet.seed(3)
    np.testing.assert_array_equal(a, masks(None))


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, "half", True, float("nan")])
def test_dropout_rate_is_from_0_to_below_1(rate: Any) -> None:
    with pytest.raises(ArgumentError, match="Dropout: expected a rate from 0 to below 1"):
        Dropout(rate)


# -- normalization ---------------------------------------------------------------------------------


def test_moving_statistics_follow_the_batches() -> None:
    layer = BatchNormalization(momentum=0.9)
    x = tensor(64, 3)
    with training_mode() as deferred:
        out = layer(x)
    np.testing.assert_allclose(out.data.mean(0), 0, atol=1e-12)
    variance = x.data.var(0)
    np.testing.assert_allclose(out.data.var(0), variance / (variance + 1e-3))
    apply_deferred(deferred)
    moving_mean, moving_variance = layer.moving
    np.testing.assert_allclose(moving_mean.data, 0.1 * x.data.mean(0))
    np.testing.assert_allclose(moving_variance.data, 0.9 + 0.1 * variance)
    expected = (x.data - moving_mean.data) / np.sqrt(moving_variance.data + 1e-3)
    np.testing.assert_allclose(layer(x).data, expected)


def test_a_step_that_fails_leaves_the_moving_statistics() -> None:
    model = minnet.Sequential([BatchNormalization(input_shape=(2,)), Dense(1)], dtype=np.float64)
    model.compile(minnet.SGD(1e200), "mse")
    x, y = RNG.normal(size=(8, 2)), RNG.normal(size=(8, 1))
    before = None
    with pytest.raises(minnet.MinnetError, match="finite"):
        for _ in range(9):
            before = model.get_weights()
            model.train_on_batch(x, y)
    assert before is not None
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_frozen_batch_normalization_uses_its_moving_statistics() -> None:
    layer, x = BatchNormalization(), tensor(6, 3)
    inferred = layer(x).data
    layer.trainable = False
    with training_mode() as deferred:
        np.testing.assert_array_equal(layer(x).data, inferred)
    assert not deferred


def test_layer_normalization_looks_at_each_row_alone() -> None:
    layer, x = minnet.LayerNormalization(), tensor(4, 3, 5)
    out = layer(x).data
    np.testing.assert_allclose(out.mean(-1), 0, atol=1e-12)
    np.testing.assert_allclose(layer(x[1:2]).data, out[1:2])


@pytest.mark.parametrize("make", [BatchNormalization, minnet.LayerNormalization])
def test_a_constant_feature_is_no_division_by_zero(make: Any) -> None:
    x = Tensor(np.full((4, 3), 7.0), requires_grad=True)
    with training_mode():
        out = make()(x)
    np.testing.assert_array_equal(out.data, 0)
    assert np.isfinite(grad(out.sum(), x).data).all()


def test_mistakes_in_normalizing() -> None:
    with pytest.raises(ArgumentError, match="a momentum from 0 to 1, received 2"):
        BatchNormalization(momentum=2)
    with pytest.raises(ArgumentError, match="epsilon above 0"):
        minnet.LayerNormalization(epsilon=0)
    with pytest.raises(ShapeError, match="at least one axis"):
        BatchNormalization()(tensor(3))


# -- embedding -------------------------------------------------------------------------------------


def test_rows_that_are_used_twice_add_up() -> None:
    layer = Embedding(4, 2)
    layer.set_up((3,), np.float64, None)
    indices = np.array([[1, 3, 1], [1, 0, 3]])
    out = layer(Tensor(indices))
    table = layer.parameters["embeddings"]
    np.testing.assert_array_equal(out.data, table.data[indices])
    gradient = grad(out.sum(), table).data
    np.testing.assert_array_equal(gradient, [[1, 1], [3, 3], [0, 0], [2, 2]])


def test_many_rows_add_up_as_numpy_adds_them() -> None:
    table = Tensor(RNG.normal(size=(50, 3)), requires_grad=True)
    indices = RNG.integers(0, 50, (40, 30))
    g = RNG.normal(size=(40, 30, 3))
    expected = np.zeros((50, 3))
    np.add.at(expected, indices, g)
    found = grad(ops.take_rows(table, Tensor(indices)), table, Tensor(g)).data
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("wrong", [-1, 4])
def test_an_index_out_of_range_names_the_layer(wrong: int) -> None:
    model = minnet.Sequential([Embedding(4, 2, input_length=2)])
    with pytest.raises(ArgumentError, match=f"indices from 0 to 3, received {wrong}"):
        model.predict([[0, wrong]])
    with pytest.raises(DtypeError, match="integer indices, received float32"):
        Embedding(4, 2)(Tensor([[1.0]]))


def test_whole_floats_are_taken_as_indices() -> None:
    model = minnet.Sequential([Embedding(4, 2, input_length=2)])
    np.testing.assert_array_equal(model.predict([[0.0, 3.0]]), model.predict([[0, 3]]))
    with pytest.raises(ArgumentError, match="whole numbers, as indices, received 0.5"):
        model.predict([[0.5, 1]])


# -- merging and rearranging -----------------------------------------------------------------------


def test_dot_is_the_sum_of_products() -> None:
    a, b = tensor(3, 2, 4), tensor(3, 5, 4)
    np.testing.assert_allclose(layers.Dot(2)([a, b]).data, a.data @ b.data.swapaxes(1, 2))
    c, d = tensor(3, 4), tensor(3, 4)
    dot = (c.data * d.data).sum(1, keepdims=True)
    np.testing.assert_allclose(layers.Dot(1)([c, d]).data, dot)
    lengths = np.linalg.norm(c.data, axis=1) * np.linalg.norm(d.data, axis=1)
    cosine = layers.Dot(1, normalize=True)([c, d]).data
    np.testing.assert_allclose(cosine, dot / lengths[:, None])


def test_mistakes_in_merging() -> None:
    a, b = tensor(3, 2, 4), tensor(3, 5, 3)
    with pytest.raises(ShapeError, match="axes of one length, received 4 of .* and 3 of"):
        layers.Dot(2)([a, b])
    with pytest.raises(ShapeError, match="rows that differ in axis 1 alone"):
        layers.Concatenate(1)([a, b])
    with pytest.raises(ArgumentError, match="Axis 0 holds the rows"):
        layers.Concatenate(0)([a, a])
    with pytest.raises(ArgumentError, match="axes as one number or two"):
        layers.Dot((1, 2, 3))
    with pytest.raises(ShapeError, match="2 tensors"):
        layers.Dot(1)([a, a, a])
    with pytest.raises(ShapeError, match="a size that fits"):
        layers.Reshape((3, -1))(tensor(2, 4))
    with pytest.raises(ArgumentError, match="at most one -1"):
        layers.Reshape((-1, -1))
    with pytest.raises(ArgumentError, match="a function of a tensor"):
        layers.Lambda(3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="gives a Tensor with the rows that it was given"):
        layers.Lambda(lambda x: x.sum())(a)


def test_lambda_takes_one_tensor_or_several() -> None:
    a, b = tensor(3, 4), tensor(3, 4)
    product = layers.Lambda(lambda x: x[0] * x[1])
    np.testing.assert_array_equal(product([a, b]).data, a.data * b.data)
    assert product.output_shape == (4,)
    half = layers.Lambda(lambda x: x[:, :2])
    assert half(a).shape == (3, 2)


# -- regularizers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["l1", "l2", "l1_l2"])
def test_penalties_are_in_every_loss(name: str) -> None:
    def model(regularizer: Any) -> Any:
        made = minnet.Sequential(
            [Dense(2, kernel_regularizer=regularizer, input_dim=3)], dtype=np.float64, seed=0
        )
        made.compile(minnet.SGD(0.1), "mse")
        return made

    x, y = RNG.normal(size=(8, 3)), RNG.normal(size=(8, 2))
    plain, regular = model(None), model(name)
    w = plain.get_weights()[0]
    penalty = 0.01 * sum(np.abs(w).sum() if n == "l1" else (w * w).sum() for n in name.split("_"))
    assert regular.evaluate(x, y) == pytest.approx(plain.evaluate(x, y) + penalty, rel=1e-12)
    fitted = regular.fit(x, y, batch_size=8, verbose=0).history["loss"][0]
    assert fitted == pytest.approx(plain.train_on_batch(x, y) + penalty, rel=1e-12)
    slope = sum(np.sign(w) if n == "l1" else 2 * w for n in name.split("_")) * 0.01
    np.testing.assert_allclose(regular.get_weights()[0], plain.get_weights()[0] - 0.1 * slope)


def test_frozen_weights_have_no_penalty() -> None:
    model = minnet.Sequential([Dense(2, kernel_regularizer="l2", input_dim=3)])
    model.compile("sgd", "mse")
    x, y = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 2))
    with_penalty = model.evaluate(x, y)
    model.layers[0].trainable = False
    assert model.evaluate(x, y) < with_penalty


def test_regularizers_by_name_settings_and_function() -> None:
    assert regularizers.get("l2") == regularizers.l2() == regularizers.L1L2(0, 0.01)
    made = regularizers.l1_l2(0.5, 0.25)
    assert regularizers.get(regularizers.to_config(made)) == made
    assert regularizers.get(None) is None and regularizers.to_config(None) is None

    def largest(w: Tensor) -> Any:
        return ops.absolute(w).max()

    layer = Dense(2, kernel_regularizer=largest, input_dim=3)
    model = minnet.Sequential([layer])
    model.compile("sgd", "mse")
    assert np.isfinite(model.train_on_batch(np.ones((2, 3)), np.ones((2, 2))))
    with pytest.raises(ArgumentError, match="Did you mean 'l2'"):
        regularizers.get("L22")
    with pytest.raises(ArgumentError, match="factors of at least 0"):
        regularizers.l1(-1)


# -- activations far out ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_finite_far_out(name: str, dtype: Any) -> None:
    function = ACTIVATIONS[name]
    if function is None or name == "exp":
        return  # the identity; and e^1000 is what it is
    x = Tensor(np.array([[-1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4]], dtype), requires_grad=True)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        out = function(x)
        slope = grad(out.sum(), x, create_graph=True)
        curve = grad(slope.sum(), x) if slope.requires_grad else slope
    for found in (out, slope, curve):
        assert found.dtype == dtype
        assert np.isfinite(found.data).all()


def test_activations_without_bounds_are_the_identity_far_out() -> None:
    x = Tensor(np.array([50.0, 1e4]))
    for name in ("elu", "gelu", "leaky_relu", "relu", "softplus", "swish"):
        function: Any = ACTIVATIONS[name]
        np.testing.assert_allclose(function(x).data, x.data, rtol=1e-15)
        np.testing.assert_allclose(function(-x).data, {"elu": -1.0, "leaky_relu": -0.2 * x.data}
                                   .get(name, 0.0), atol=1e-15)  # fmt: skip


# -- PyTorch's opinion -----------------------------------------------------------------------------


@pytest.fixture(name="torch")
def _torch() -> Any:
    return pytest.importorskip("torch")


def test_batch_normalization_trains_as_in_torch(torch: Any) -> None:
    """Five steps, then inference; the moving variance is ours, of the batch itself."""
    ours = BatchNormalization(momentum=0.9, epsilon=1e-3)
    ours.set_up((5, 4, 3), np.float64, None)
    theirs = torch.nn.BatchNorm2d(3, eps=1e-3, momentum=0.1).double()
    moving = np.ones(3)
    for _ in range(5):
        x = RNG.normal(size=(6, 5, 4, 3)) * 2 + 1
        g = RNG.normal(size=x.shape)
        mine = Tensor(x, requires_grad=True)
        with training_mode() as deferred:
            out = ours(mine)
        found = grad(out, [mine, *list(ours.parameters.values())[:2]], Tensor(g))
        apply_deferred(deferred)
        other = torch.tensor(x, requires_grad=True)
        result = theirs(other.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        result.backward(torch.tensor(g))
        np.testing.assert_allclose(out.data, result.detach().numpy(), rtol=1e-9, atol=1e-11)
        expected = other.grad, theirs.weight.grad, theirs.bias.grad
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a.data, b.numpy(), rtol=1e-8, atol=1e-10)
        moving = 0.9 * moving + 0.1 * x.var((0, 1, 2))
        with torch.no_grad():
            for name, parameter in (("gamma", theirs.weight), ("beta", theirs.bias)):
                parameter -= 0.1 * parameter.grad
                parameter.grad = None
                ours.parameters[name].data = parameter.numpy().copy()
    np.testing.assert_allclose(ours.moving[0].data, theirs.running_mean.numpy(), rtol=1e-9)
    np.testing.assert_allclose(ours.moving[1].data, moving, rtol=1e-9)
    theirs.running_var.copy_(torch.tensor(moving))  # theirs is divided by n - 1
    theirs.eval()
    x = RNG.normal(size=(2, 5, 4, 3))
    with torch.no_grad():
        expected = theirs(torch.tensor(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(ours(Tensor(x)).data, expected, rtol=1e-9, atol=1e-11)


def test_layer_normalization_agrees_with_torch(torch: Any) -> None:
    ours = minnet.LayerNormalization(1e-5)
    ours.set_up((3, 6), np.float64, None)
    x, g = RNG.normal(size=(4, 3, 6)), RNG.normal(size=(4, 3, 6))
    theirs = torch.nn.LayerNorm(6, 1e-5).double()
    with torch.no_grad():
        for name, parameter in (("gamma", theirs.weight), ("beta", theirs.bias)):
            parameter.copy_(torch.tensor(RNG.normal(size=6)))
            ours.parameters[name].data = parameter.numpy().copy()
    mine, other = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    out, result = ours(mine), theirs(other)
    np.testing.assert_allclose(out.data, result.detach().numpy(), rtol=1e-9, atol=1e-11)
    result.backward(torch.tensor(g))
    found = grad(out, [mine, *ours.parameters.values()], Tensor(g))
    for a, b in zip(found, (other.grad, theirs.weight.grad, theirs.bias.grad), strict=True):
        np.testing.assert_allclose(a.data, b.numpy(), rtol=1e-8, atol=1e-10)


def test_embedding_agrees_with_torch(torch: Any) -> None:
    ours = Embedding(7, 3)
    ours.set_up((5,), np.float64, None)
    indices, g = RNG.integers(0, 7, (4, 5)), RNG.normal(size=(4, 5, 3))
    table = ours.parameters["embeddings"]
    weight = torch.tensor(table.numpy(), requires_grad=True)
    result = torch.nn.functional.embedding(torch.tensor(indices), weight)
    result.backward(torch.tensor(g))
    out = ours(Tensor(indices))
    np.testing.assert_array_equal(out.data, result.detach().numpy())
    found = grad(out, table, Tensor(g))
    np.testing.assert_allclose(found.data, weight.grad.numpy(), rtol=1e-12)


TORCH = {
    "elu": "elu", "gelu": "gelu", "relu": "relu", "selu": "selu", "sigmoid": "sigmoid",
    "silu": "silu", "softplus": "softplus", "swish": "silu", "tanh": "tanh",
}  # fmt: skip


@pytest.mark.parametrize("name", TORCH)
def test_activations_agree_with_torch(torch: Any, name: str) -> None:
    x = np.concatenate([RNG.normal(size=200) * 4, [-30.0, 30.0]])
    mine, other = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    function: Any = ACTIVATIONS[name]
    out, result = function(mine), getattr(torch.nn.functional, TORCH[name])(other)
    # softplus is the identity above 20 in torch, which is 2e-9 off.
    np.testing.assert_allclose(out.data, result.detach().numpy(), rtol=1e-8, atol=1e-12)
    result.sum().backward()
    np.testing.assert_allclose(grad(out.sum(), mine).data, other.grad.numpy(), 1e-8, 1e-8)


def test_a_rate_may_be_numpys() -> None:
    assert Dropout(np.float32(0.5)).config()["rate"] == 0.5
