"""Embedding: a learned vector for each word, user or film."""

from __future__ import annotations

from typing import Any

from minnet import initializers, regularizers
from minnet.configs import Config
from minnet.layers.base import Layer, Shape, as_shape, short
from minnet.ops.embedding import take_rows
from minnet.tensor import Tensor


class Embedding(Layer):
    """Row i of a learned table in place of each index i: (n, …) to (n, …, output_dim).

    ``input_dim``: how many indices there are, counted from 0. The weight is (input_dim,
    output_dim). Its gradient is the sum over all places where an index stood. ``input_length`` is
    short for ``input_shape=(input_length,)``.

    Raises :class:`~minnet.errors.ArgumentError` for dimensions below 1 or unknown names, and, when
    called, for an index out of range; :class:`~minnet.errors.DtypeError` where it is called with
    anything but integers.
    """

    steady = True

    takes_indices = True

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: str | initializers.Initializer = "uniform",
        embeddings_regularizer: Any = None,
        input_length: int | None = None,
        input_shape: Shape | None = None,
        name: str | None = None,
    ):
        if input_length is not None and input_shape is None:
            input_shape = (input_length,)
        super().__init__(input_shape=input_shape, name=name)
        self.input_dim, self.output_dim = as_shape("Embedding", (input_dim, output_dim))
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)

    def config(self) -> Config:
        return {
            **super().config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializers.to_config(self.embeddings_initializer),
            "embeddings_regularizer": regularizers.to_config(self.embeddings_regularizer),
        }

    def build(self, input_shape: Shape) -> Shape:
        self.add_parameter(
            "embeddings",
            (self.input_dim, self.output_dim),
            self.embeddings_initializer,
            regularizer=self.embeddings_regularizer,
        )
        return (*input_shape, self.output_dim)

    def call(self, x: Tensor) -> Any:
        return take_rows(self.parameters["embeddings"], x).named(f"{self.name}_out")

    def describe(self) -> str:
        return f"Embedding {short(self.input_shape)} → {short(self.output_shape)}"
