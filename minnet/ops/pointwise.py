"""Element by element: arithmetic, elementary functions, choices.

Ties and kinks are defined once, here: relu and abs have derivative 0 at 0, and of two equal values
``maximum`` and ``minimum`` send the gradient to the first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minnet.kernels.reference import relu_gradient
from minnet.ops.base import ADDITION, ATOM, COMPARISON, MULTIPLICATION, POWER, Pointwise

# One step above an operator's own binding: the right-hand side of − and ÷ needs brackets around an
# operator of the same rank, and floating point is not associative, so + and × get them as well.
_TERM = MULTIPLICATION
_FACTOR = POWER


class Add(Pointwise):
    name = "add"
    binding = ADDITION
    needs = (ADDITION, _TERM)

    def value(self, a: Any, b: Any) -> Any:
        return a + b

    def gradient(self, index: int, g: Any, out: Any, a: Any, b: Any) -> Any:
        return g

    def formula(self, a: str, b: str) -> str:
        return f"{a}+{b}"


class Subtract(Pointwise):
    name = "subtract"
    binding = ADDITION
    needs = (ADDITION, _TERM)

    def value(self, a: Any, b: Any) -> Any:
        return a - b

    def gradient(self, index: int, g: Any, out: Any, a: Any, b: Any) -> Any:
        return g if index == 0 else -g

    def formula(self, a: str, b: str) -> str:
        return f"{a}-{b}"


class Multiply(Pointwise):
    name = "multiply"
    binding = MULTIPLICATION
    needs = (MULTIPLICATION, _FACTOR)

    def value(self, a: Any, b: Any) -> Any:
        return a * b

    def gradient(self, index: int, g: Any, out: Any, a: Any, b: Any) -> Any:
        return g * (b if index == 0 else a)

    def formula(self, a: str, b: str) -> str:
        return f"{a}*{b}"


class Divide(Pointwise):
    name = "divide"
    binding = MULTIPLICATION
    needs = (MULTIPLICATION, _FACTOR)

    def value(self, a: Any, b: Any) -> Any:
        return np.true_divide(a, b)

    def gradient(self, index: int, g: Any, out: Any, a: Any, b: Any) -> Any:
        return g / b if index == 0 else -(g * out / b)

    def formula(self, a: str, b: str) -> str:
        return f"{a}/{b}"


class Negative(Pointwise):
    name = "negative"
    binding = ADDITION  # -x^2 means (-x)^2 in a spreadsheet, so -x is bracketed wherever it can be
    needs = (_FACTOR,)

    def value(self, x: Any) -> Any:
        return -x

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return -g

    def formula(self, x: str) -> str:
        return f"-{x}" if "^" not in x else f"-({x})"


class Power(Pointwise):
    """``a ** b``; the derivative for ``b`` is real where ``a`` > 0, and 0 where ``a`` is 0, b not
    below it: there 0 ** b does not change with b."""

    name = "power"
    binding = POWER
    needs = (ATOM, ATOM)

    def value(self, a: Any, b: Any) -> Any:
        return a**b

    def gradient(self, index: int, g: Any, out: Any, a: Any, b: Any) -> Any:
        if index == 1:
            # As a Python number, the logarithm of a number leaves the dtype alone.
            if isinstance(a, (int, float)):
                return g * (out * float(np.log(a or 1)))
            return g * (out * log(where(a, a, 1)))
        if isinstance(b, (int, float)):
            if b == 0:
                return None  # a ** -1 would be infinite where a is 0
            slope = a if b == 2 else a ** (b - 1)
            return g * (b * slope)
        return g * (b * a ** (b - 1))

    def formula(self, a: str, b: str) -> str:
        return f"{a}^{b}"


class Exp(Pointwise):
    name = "exp"

    def value(self, x: Any) -> Any:
        return np.exp(x)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return g * out

    def formula(self, x: str) -> str:
        return f"EXP({x})"


class Log(Pointwise):
    """The natural logarithm (base e), as everywhere in machine learning."""

    name = "log"

    def value(self, x: Any) -> Any:
        return np.log(x)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return g / x

    def formula(self, x: str) -> str:
        return f"LN({x})"


class Sqrt(Pointwise):
    name = "sqrt"

    def value(self, x: Any) -> Any:
        return np.sqrt(x)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return g / (2 * out)

    def formula(self, x: str) -> str:
        return f"SQRT({x})"


class Tanh(Pointwise):
    name = "tanh"

    def value(self, x: Any) -> Any:
        return np.tanh(x)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return g * (1 - out**2)

    def formula(self, x: str) -> str:
        return f"TANH({x})"


class Sigmoid(Pointwise):
    """1/(1+e^-x), in the form that never overflows: e^x/(1+e^x) for negative x."""

    name = "sigmoid"

    def value(self, x: Any) -> Any:
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, 1 / (1 + e), e / (1 + e))

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return g * (out * (1 - out))

    def formula(self, x: str) -> str:
        return f"IF({x}>=0,1/(1+EXP(-({x}))),EXP({x})/(1+EXP({x})))".replace(f"-({x})", _minus(x))

    def words(self, x: str) -> str:
        return f"sigmoid({x})"


def _minus(x: str) -> str:
    return f"-{x}" if x.replace("$", "").isalnum() else f"-({x})"


class Relu(Pointwise):
    """max(0, x) (Nair & Hinton 2010); NaN stays NaN."""

    name = "relu"
    together = True

    def value(self, x: Any) -> Any:
        return np.maximum(x, 0)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return where(x > 0, g, 0)

    def gradients(self, wanted: tuple[bool, ...], g: Any, out: Any, x: Any) -> Any:
        return (relu_gradient(g, x),)

    def formula(self, x: str) -> str:
        return f"MAX(0,{x})"

    def words(self, x: str) -> str:
        return f"max(0,{x})"


class Absolute(Pointwise):
    name = "absolute"

    def value(self, x: Any) -> Any:
        return np.abs(x)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return g * sign(x)

    def formula(self, x: str) -> str:
        return f"ABS({x})"


class Sign(Pointwise):
    """−1, 0 or 1."""

    name = "sign"
    differentiable = False

    def value(self, x: Any) -> Any:
        return np.sign(x)

    def formula(self, x: str) -> str:
        return f"IF({x}>0,1,IF({x}<0,-1,0))"

    def words(self, x: str) -> str:
        return f"sign({x})"


class Maximum(Pointwise):
    """The larger of two; of equals the gradient goes to the first."""

    name = "maximum"
    needs = (COMPARISON, COMPARISON)

    def value(self, a: Any, b: Any) -> Any:
        return np.maximum(a, b)

    def gradient(self, index: int, g: Any, out: Any, a: Any, b: Any) -> Any:
        return where(greater_equal(a, b), g, 0) if index == 0 else where(greater(b, a), g, 0)

    def formula(self, a: str, b: str) -> str:
        return f"MAX({a},{b})"


class Minimum(Pointwise):
    """The smaller of two; of equals the gradient goes to the first."""

    name = "minimum"
    needs = (COMPARISON, COMPARISON)

    def value(self, a: Any, b: Any) -> Any:
        return np.minimum(a, b)

    def gradient(self, index: int, g: Any, out: Any, a: Any, b: Any) -> Any:
        return where(less_equal(a, b), g, 0) if index == 0 else where(less(b, a), g, 0)

    def formula(self, a: str, b: str) -> str:
        return f"MIN({a},{b})"


class _Comparison(Pointwise):
    """TRUE or FALSE; no gradient flows through it."""

    differentiable = False
    binding = COMPARISON
    needs = (ADDITION, ADDITION)
    symbol: str

    def formula(self, a: str, b: str) -> str:
        return f"{a}{self.symbol}{b}"


class Greater(_Comparison):
    name = "greater"
    symbol = ">"

    def value(self, a: Any, b: Any) -> Any:
        return np.greater(a, b)


class GreaterEqual(_Comparison):
    name = "greater_equal"
    symbol = ">="

    def value(self, a: Any, b: Any) -> Any:
        return np.greater_equal(a, b)


class Less(_Comparison):
    name = "less"
    symbol = "<"

    def value(self, a: Any, b: Any) -> Any:
        return np.less(a, b)


class LessEqual(_Comparison):
    name = "less_equal"
    symbol = "<="

    def value(self, a: Any, b: Any) -> Any:
        return np.less_equal(a, b)


class Where(Pointwise):
    """``a`` where the condition holds, else ``b``."""

    name = "where"
    needs = (COMPARISON, COMPARISON, COMPARISON)

    def value(self, condition: Any, a: Any, b: Any) -> Any:
        return np.where(condition, a, b)

    def gradient(self, index: int, g: Any, out: Any, condition: Any, a: Any, b: Any) -> Any:
        if index == 0:
            return None
        return where(condition, g, 0) if index == 1 else where(condition, 0, g)

    def formula(self, condition: str, a: str, b: str) -> str:
        return f"IF({condition},{a},{b})"

    def words(self, condition: str, a: str, b: str) -> str:
        return f"{a} where {condition.strip('()')}, else {b}"


add, subtract, multiply, divide = Add(), Subtract(), Multiply(), Divide()
negative, power, exp, log, sqrt = Negative(), Power(), Exp(), Log(), Sqrt()
tanh, sigmoid, relu, absolute, sign = Tanh(), Sigmoid(), Relu(), Absolute(), Sign()
maximum, minimum, where = Maximum(), Minimum(), Where()
greater, greater_equal, less, less_equal = Greater(), GreaterEqual(), Less(), LessEqual()
