"""Convolution and pooling: ties, NaN, borders, errors; what runs and what does not."""

from typing import Any

import numpy as np
import pytest

from minnet import kernels, ops
from minnet.autodiff import grad
from minnet.errors import ArgumentError, ShapeError
from minnet.recording import no_grad
from minnet.tensor import Tensor

RNG = np.random.default_rng(0)


def images(*shape: int, **options: Any) -> Tensor:
    return Tensor(RNG.normal(size=shape), **options)


# -- pooling ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("create_graph", [False, True])
def test_of_equal_numbers_the_first_has_the_gradient(create_graph: bool) -> None:
    x = Tensor(np.array([[1.0, 2, 2], [0, 2, 2]])[None, ..., None], requires_grad=True)
    out = ops.max_pool2d(x, 2, 1)
    (gradient,) = grad(out, [x], np.array([[3.0, 5]])[None, ..., None], create_graph=create_graph)
    np.testing.assert_array_equal(gradient.data[0, ..., 0], [[0, 8, 0], [0, 0, 0]])


def test_padding_is_never_the_largest() -> None:
    x = -np.ones((1, 2, 2, 1))
    np.testing.assert_array_equal(ops.max_pool2d(x, 2, 1, 1), -np.ones((1, 3, 3, 1)))
    np.testing.assert_array_equal(ops.average_pool2d(x, 2, 1, 1), -np.ones((1, 3, 3, 1)))
    counted = ops.average_pool2d(x, 2, 1, 1, count_padding=True)
    quarters = [[-0.25, -0.5, -0.25], [-0.5, -1, -0.5], [-0.25, -0.5, -0.25]]
    np.testing.assert_array_equal(counted[0, ..., 0], quarters)


def test_nan_stays_nan() -> None:
    x = np.array([[1.0, np.nan], [2, 3]])[None, ..., None]
    assert np.isnan(ops.max_pool2d(x)).all()
    assert np.isnan(ops.global_max_pool2d(x)).all()
    w = np.ones((1, 1, 1, 1))
    assert np.isnan(ops.conv2d_relu(x, w, np.zeros(1))).sum() == 1


def test_global_pooling_and_flatten() -> None:
    x = RNG.normal(size=(2, 3, 4, 5))
    np.testing.assert_allclose(ops.global_average_pool2d(x), x.mean((1, 2)))
    np.testing.assert_array_equal(ops.global_max_pool2d(x), x.max((1, 2)))
    np.testing.assert_array_equal(ops.flatten(x), x.reshape(2, 60))
    assert ops.flatten(x[:0]).shape == (0, 60)
    with pytest.raises(ShapeError, match="'global_max_pool2d': expected images"):
        ops.global_max_pool2d(x[0])


def test_same_pooling_has_as_many_places_as_strides_fit() -> None:
    x = images(1, 7, 5, 2)
    assert ops.max_pool2d(x, 3, 2, "same").shape == (1, 4, 3, 2)
    assert ops.average_pool2d(x, (2, 3), [2, 3], "same").shape == (1, 4, 2, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "pool size: expected a whole number above 0"),
        (((2, 2, 2),), "pool size"),
        ((2, 0), "pool strides"),
        ((2, None, "full"), "unknown padding"),
        ((2, None, 2), "less than the window's size"),
        ((2.5,), "received 2.5"),
        ((True,), "received True"),
    ],
)
def test_wrong_windows_say_what_is_wrong(arguments: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        ops.max_pool2d(images(1, 4, 4, 1), *arguments)


def test_windows_must_fit_into_the_images() -> None:
    with pytest.raises(ShapeError, match="at least 5x5 pixels"):
        ops.max_pool2d(images(1, 4, 4, 1), 5)
    with pytest.raises(ShapeError, match=r"One image alone is x\[None\]"):
        ops.average_pool2d(images(4, 4, 1))


# -- convolution -----------------------------------------------------------------------------------


def test_shapes_must_fit_together() -> None:
    x, w = images(1, 4, 4, 3), images(2, 2, 3, 4)
    with pytest.raises(ShapeError, match="'conv2d': expected images .* received shape"):
        ops.conv2d(x.data[0], w)
    with pytest.raises(ShapeError, match="expected a kernel"):
        ops.conv2d(x, w.data[0])
    with pytest.raises(ShapeError, match=r"kernel \(2, 2, 3, filters\) for images of 3 channels"):
        ops.conv2d(x, images(2, 2, 4, 4))
    with pytest.raises(ShapeError, match="3 channels in 2 groups.*must divide"):
        ops.conv2d(x, images(2, 2, 1, 4), groups=2)
    with pytest.raises(ShapeError, match=r"bias of shape \(4,\)"):
        ops.conv2d(x, w, images(3))
    with pytest.raises(ShapeError, match="at least 5x5 pixels"):
        ops.conv2d(x, images(5, 5, 3, 1))
    with pytest.raises(ArgumentError, match="dilation"):
        ops.conv2d(x, w, dilation=0)


def test_an_empty_batch_gives_an_empty_batch() -> None:
    x, w = images(0, 4, 4, 3, requires_grad=True), images(2, 2, 3, 4, requires_grad=True)
    out = ops.max_pool2d(ops.conv2d(x, w))
    assert out.shape == (0, 1, 1, 4)
    gx, gw = grad(out.sum(), [x, w])
    assert gx.shape == x.shape
    assert not gw.data.any()


@pytest.mark.parametrize("function", [ops.conv2d, ops.conv2d_relu])
def test_only_wanted_gradients_are_calculated(
    function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("conv2d_input_gradient", "conv2d_weight_gradient", "channel_sums",
                 "relu_gradient", "relu_gradient_and_sums"):  # fmt: skip
        original = getattr(kernels, name)

        def counted(*args: Any, name: str = name, original: Any = original) -> Any:
            calls.append(name)
            return original(*args)

        monkeypatch.setattr(kernels, name, counted)
    x, w, b = (images(*s, requires_grad=True) for s in ((2, 4, 4, 1), (2, 2, 1, 3), (3,)))
    out = function(x, w, b).sum()
    relu = function is ops.conv2d_relu

    grad(out, [x, w, b])
    assert calls == (["relu_gradient_and_sums"] if relu else ["channel_sums"]) + [
        "conv2d_input_gradient", "conv2d_weight_gradient",
    ]  # fmt: skip
    calls.clear()
    x.requires_grad = b.requires_grad = False
    grad(out, w)
    assert calls == (["relu_gradient"] if relu else []) + ["conv2d_weight_gradient"]


@pytest.mark.parametrize("pool", [False, True])
def test_fused_operations_are_their_steps_in_float32(pool: bool) -> None:
    x = images(2, 9, 7, 5, dtype=np.float32)
    w, b = images(3, 3, 5, 6, dtype=np.float32), images(6, dtype=np.float32)
    with no_grad():
        fused = ops.conv2d_relu(x, w, b, padding="same", pool=pool)
        steps = ops.relu(ops.conv2d(x, w, b, padding="same"))
        steps = ops.max_pool2d(steps) if pool else steps
    np.testing.assert_allclose(fused.data, steps.data, rtol=1e-4, atol=1e-4)
