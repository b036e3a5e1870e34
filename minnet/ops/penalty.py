"""What regularization adds to the loss so that weights stay small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minnet.ops.base import ADDITION, CellWriter, Operand, Operation, positions
from minnet.ops.pointwise import sign


@dataclass(frozen=True)
class Penalty(Operation):
    """l1 Σ|w| + l2 Σw², over all elements; |w| has slope 0 at 0."""

    l1: float
    l2: float

    name = "penalty"
    binding = ADDITION
    reads_ranges = (0,)

    def value(self, w: Any) -> Any:
        flat = np.asarray(w).reshape(-1)
        return flat.dtype.type(self.l1 * np.abs(flat).sum() + self.l2 * flat.dot(flat))

    def gradient(self, index: int, g: Any, out: Any, w: Any) -> Any:
        sizes = g * (self.l1 * sign(w)) if self.l1 else None
        if not self.l2:
            return g * w * 0.0 if sizes is None else sizes
        squares = g * (2 * self.l2 * w)
        return squares if sizes is None else sizes + squares

    def words(self, w: str) -> str:
        terms = [f"{self.l1:g}*sum(|{w}|)"] * (self.l1 > 0)
        terms += [f"{self.l2:g}*sum({w}^2)"] * (self.l2 > 0)
        return "+".join(terms) or "0"

    def cells(self, shape: tuple[int, ...], *operands: Operand) -> CellWriter:
        (w,) = operands
        if not len(positions(w.shape).reshape(-1)):
            return lambda k: "0"
        areas = w.area(positions(w.shape).reshape(-1)).split(",")
        terms = []
        for area in areas:
            if self.l1:
                # Not every program takes the sum over a single cell.
                signs = f'(SUMIF({area},">0")-SUMIF({area},"<0"))'
                terms.append(f"{self.l1!r}*" + (signs if ":" in area else f"ABS({area})"))
            if self.l2:
                terms.append(f"{self.l2!r}*SUMPRODUCT({area},{area})")
        return lambda k: "+".join(terms) or "0"


def penalty(w: Any, l1: float = 0.0, l2: float = 0.0) -> Any:
    """One number: l1 times the sum of the absolute values plus l2 times that of the squares."""
    return Penalty(float(l1), float(l2))(w)
