"""Every kernel, written down once and done again on other numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from programs import written_to

from minnet import kernels
from minnet.kernels.geometry import Window
from minnet.kernels.products import compiles
from minnet.program import Program, writing
from minnet.tensor import Array

pytestmark = pytest.mark.skipif(not compiles(), reason="what is not compiled is not written down")

Calculation = Callable[..., Any]


def conv(
    shape: tuple[int, ...], filters: int, size: int, strides: int = 1, padding: int = 0,
    groups: int = 1,
) -> list[tuple[Calculation, list[tuple[int, ...]]]]:  # fmt: skip
    """A convolution and its gradients, each with the shapes of its arrays."""
    pads = (padding, padding)
    window = Window((size, size), (strides, strides), padding=(pads, pads))
    n, height, width, channels = shape
    kernel = (size, size, channels // groups, filters)
    result = (n, *window.output_size(height, width), filters)
    return [
        (lambda x, w, b: kernels.conv2d(x, w, b, window, groups), [shape, kernel, (filters,)]),
        (
            lambda g, w: kernels.conv2d_input_gradient(g, w, window, groups, shape),
            [result, kernel],
        ),
        (lambda x, g: kernels.conv2d_weight_gradient(x, g, window, groups), [shape, result]),
    ]


def pools() -> Iterator[tuple[Calculation, list[tuple[int, ...]]]]:
    for size, strides in ((2, 2), (3, 2), (2, 3)):
        window = Window((size, size), (strides, strides))

        def largest(x: Array, window: Window = window) -> Any:
            y, places = kernels.max_pool_places(x, window)
            back = kernels.max_pool_gradient(y, places, window, x.shape)
            return y, places, back, kernels.max_pool_take(x, places, window)

        def mean(x: Array, window: Window = window) -> Any:
            y = kernels.average_pool(x, window)
            return y, kernels.average_pool_gradient(y, window, x.shape)

        yield from ((largest, [(3, 9, 9, 5)]), (mean, [(3, 9, 9, 5)]))


CASES = [
    *conv((3, 12, 12, 64), 70, 3, padding=1),  # Winograd
    *conv((9, 28, 28, 64), 64, 3),
    *conv((3, 9, 9, 4), 10, 3, padding=1),  # direct
    *conv((3, 9, 9, 4), 10, 5, padding=2),
    *conv((3, 9, 9, 4), 10, 1, strides=2),  # pixels that nobody sees
    *conv((3, 9, 9, 40), 40, 2, strides=3),
    *conv((3, 9, 9, 8), 6, 3, groups=2),
    *conv((3, 9, 9, 10), 10, 3, padding=1, groups=10),  # depthwise
    *conv((30, 9, 9, 40), 50, 1),  # a product
    *pools(),
    (lambda g: kernels.channel_sums(g), [(4, 9, 9, 5)]),
    (lambda g, y: kernels.relu_gradient_and_sums(g, y), [(4, 9, 9, 5)] * 2),
    (lambda g, y: kernels.relu_gradient(g, y), [(4, 9, 9, 5)] * 2),
    (lambda p, g: kernels.descend(p, g, 0.5), [(300, 70)] * 2),
    (lambda a, b, c: kernels.matmul(a, b, c, relu=True), [(100, 90), (90, 70), (70,)]),
    (lambda a, b, c: kernels.matmul(a, b, c, relu=True), [(5, 90), (90, 700), (700,)]),
    (lambda a, b, c: kernels.matmul(a, b.T, c, relu=True), [(9, 600), (500, 600), (500,)]),
    (lambda a, b: kernels.matmul(a.T, b), [(90, 100), (90, 70)]),
    (lambda a, b: kernels.matmul(a[::2], b[:, ::2]), [(200, 90), (90, 140)]),
    (lambda x: kernels.channel_sums(x.transpose(0, 2, 1, 3)), [(4, 9, 8, 5)]),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_done_again(case: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On new numbers, and with NaN in all that is written to, it gives what it gives anew."""
    monkeypatch.setattr("minnet.kernels.products._forced", lambda: "numba")
    calculation, shapes = CASES[case]
    rng = np.random.default_rng(0)
    owned = [rng.standard_normal(shape, np.float32) for shape in shapes]
    calculation(*owned)
    program = Program([])
    with writing(program):
        found = calculation(*[a[...] for a in owned])
    assert program.refusal is None
    assert len(program)
    results = found if isinstance(found, tuple) else (found,)
    for _ in range(2):
        new = [rng.standard_normal(shape, np.float32) for shape in shapes]
        for array in written_to(program):
            array.fill(np.nan)
        for array, numbers in zip(owned, new, strict=True):
            array[...] = numbers
        program.play()
        expected = calculation(*[a[...] for a in new])
        for a, b in zip(results, expected if isinstance(found, tuple) else (expected,)):
            np.testing.assert_array_equal(a, b)
