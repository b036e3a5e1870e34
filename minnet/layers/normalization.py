"""Normalization: layers that give the next one numbers of mean 0 and variance 1."""

from __future__ import annotations

from typing import Any

from minnet import initializers
from minnet.configs import Config
from minnet.errors import ArgumentError, ShapeError, mismatch
from minnet.layers.base import Layer, Shape, short
from minnet.ops.norm import normalize
from minnet.ops.pointwise import sqrt
from minnet.ops.reduce import mean, variance
from minnet.recording import STATE, defer
from minnet.tensor import Tensor

Initial = str | initializers.Initializer


class _Normalization(Layer):
    """What both have in common: the learned scale gamma and shift beta of the last axis."""

    def __init__(
        self,
        epsilon: float,
        center: bool,
        scale: bool,
        beta_initializer: Initial,
        gamma_initializer: Initial,
        input_shape: Shape | None,
        name: str | None,
    ):
        super().__init__(input_shape=input_shape, name=name)
        if not epsilon > 0:
            raise ArgumentError(mismatch(type(self).__name__, "epsilon above 0", repr(epsilon)))
        self.epsilon, self.center, self.scale = float(epsilon), center, scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)

    def config(self) -> Config:
        return {
            **super().config(),
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": initializers.to_config(self.beta_initializer),
            "gamma_initializer": initializers.to_config(self.gamma_initializer),
        }

    def build(self, input_shape: Shape) -> Shape:
        if not input_shape:
            kind = type(self).__name__
            raise ShapeError(mismatch(kind, "rows with at least one axis", "single numbers"))
        if self.scale:
            self.add_parameter("gamma", input_shape[-1:], self.gamma_initializer)
        if self.center:
            self.add_parameter("beta", input_shape[-1:], self.beta_initializer)
        return input_shape

    def scaled(self, x: Any) -> Any:
        """gamma·x + beta."""
        x.named("normalized")
        if self.scale:
            x = (x * self.parameters["gamma"]).named("scaled")
        return (x + self.parameters["beta"]).named(f"{self.name}_out") if self.center else x

    def describe(self) -> str:
        return f"{type(self).__name__} {short(self.input_shape)}"


class BatchNormalization(_Normalization):
    """gamma·(x − mean)/√(variance + epsilon) + beta for each feature, the last axis.

    In training, the mean and the variance are those of the batch (over all other axes), and the
    moving ones follow them: moving = momentum·moving + (1 − momentum)·batch. Otherwise the moving
    ones are used, also where the layer is not ``trainable``. Ioffe & Szegedy 2015, algorithms 1
    and 2; as in Keras, the variance is that of the batch itself (divided by n, not n − 1).

    The weights are gamma, beta, moving_mean and moving_variance, each (features,).

    Raises :class:`~minnet.errors.ArgumentError` for a momentum outside of 0 to 1 or an epsilon that
    is not above 0.
    """

    steady = True

    def __init__(
        self,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Initial = "zeros",
        gamma_initializer: Initial = "ones",
        moving_mean_initializer: Initial = "zeros",
        moving_variance_initializer: Initial = "ones",
        input_shape: Shape | None = None,
        name: str | None = None,
    ):
        super().__init__(
            epsilon, center, scale, beta_initializer, gamma_initializer, input_shape, name
        )
        if not 0 <= momentum <= 1:
            expected = "a momentum from 0 to 1"
            raise ArgumentError(mismatch("BatchNormalization", expected, repr(momentum)))
        self.momentum = float(momentum)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)

    def config(self) -> Config:
        return {
            **super().config(),
            "momentum": self.momentum,
            "moving_mean_initializer": initializers.to_config(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.to_config(self.moving_variance_initializer),
        }

    def build(self, input_shape: Shape) -> Shape:
        super().build(input_shape)
        initial = self.moving_mean_initializer, self.moving_variance_initializer
        for name, initializer in zip(("moving_mean", "moving_variance"), initial, strict=True):
            self.add_parameter(name, input_shape[-1:], initializer, trainable=False)
        return input_shape

    def call(self, x: Tensor) -> Any:
        if STATE.training and self.trainable:
            return self._by_the_batch(x)
        moving_mean, moving_variance = self.moving
        deviation = sqrt(moving_variance + self.epsilon)
        return self.scaled((x - moving_mean) / deviation)

    @property
    def moving(self) -> tuple[Tensor, Tensor]:
        """The moving mean and the moving variance, each (features,)."""
        return self.parameters["moving_mean"], self.parameters["moving_variance"]

    def _by_the_batch(self, x: Tensor) -> Any:
        axes = tuple(range(x.ndim - 1))
        momentum = self.momentum
        for parameter, statistic in zip(self.moving, (mean, variance), strict=True):

            def follow(now: Tensor, statistic: Any = statistic) -> Any:
                batch = statistic(x, axes, True).reshape(now.shape)
                return momentum * now + (1 - momentum) * batch

            defer(parameter, follow)
        return self.scaled(normalize(x, axes, self.epsilon))


class LayerNormalization(_Normalization):
    """gamma·(x − mean)/√(variance + epsilon) + beta, over the last axis of each row by itself.

    Ba et al. 2016; the same in training and in inference. gamma and beta are (features,).

    Raises :class:`~minnet.errors.ArgumentError` for an epsilon that is not above 0.
    """

    steady = True

    def __init__(
        self,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Initial = "zeros",
        gamma_initializer: Initial = "ones",
        input_shape: Shape | None = None,
        name: str | None = None,
    ):
        super().__init__(
            epsilon, center, scale, beta_initializer, gamma_initializer, input_shape, name
        )

    def call(self, x: Tensor) -> Any:
        return self.scaled(normalize(x, -1, self.epsilon))
