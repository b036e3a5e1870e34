"""The engine: what is recorded, how gradients flow back, and what it refuses."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from together import together

from minnet import ops
from minnet.autodiff import grad
from minnet.errors import DtypeError, GraphError, MinnetError, ShapeError
from minnet.recording import no_grad
from minnet.tensor import Tensor, wrap
from minnet.testing import arrays, assert_gradients, broadcastable_shapes


def leaf(values: Any, dtype: Any = np.float32, name: str | None = None) -> Tensor:
    return Tensor(values, dtype=dtype, requires_grad=True, name=name)


def values(tensor: Tensor | None) -> Any:
    assert tensor is not None
    return tensor.data.tolist()


# -- making tensors --------------------------------------------------------------------------------


def test_numbers_become_float32_and_arrays_keep_their_dtype() -> None:
    assert Tensor(1).dtype == np.float32
    assert Tensor([1, 2]).dtype == np.float32
    for dtype in (np.float32, np.float64, np.int64, np.uint8, np.bool_):
        assert Tensor(np.zeros(2, dtype)).dtype == dtype
    assert Tensor(np.zeros(2), dtype=np.float32).dtype == np.float32
    assert Tensor(Tensor(np.zeros(2))).dtype == np.float64


def test_data_is_copied() -> None:
    array = np.ones(2)
    tensor = Tensor(array)
    array[0] = 5
    tensor.numpy()[1] = 7
    assert values(tensor) == [1, 1]


@pytest.mark.parametrize("data", ["text", "1", ["1"], [1, [2, 3]], 1j, None, [object()]])
def test_what_is_not_numeric_is_refused(data: Any) -> None:
    with pytest.raises(DtypeError, match="^Tensor: expected"):
        Tensor(data)


def test_integers_cannot_require_gradients() -> None:
    with pytest.raises(
        DtypeError, match=r"expected a floating dtype .*, received int64\. Pass dtyp"
    ):
        Tensor(np.array([1]), requires_grad=True)
    assert Tensor([1], requires_grad=True).requires_grad, "Python integers become float32"


def test_every_error_is_a_minnet_error() -> None:
    assert issubclass(ShapeError, MinnetError) and issubclass(ShapeError, ValueError)
    assert issubclass(DtypeError, MinnetError) and issubclass(DtypeError, TypeError)
    assert issubclass(GraphError, MinnetError) and issubclass(GraphError, RuntimeError)


# -- like an array ---------------------------------------------------------------------------------


def test_properties() -> None:
    x = Tensor(np.zeros((2, 3)))
    assert (x.shape, x.ndim, x.size, len(x)) == ((2, 3), 2, 6, 2)
    assert x.T.shape == (3, 2)
    with pytest.raises(TypeError, match="0-d"):
        len(Tensor(1.0))


def test_one_number() -> None:
    assert float(Tensor([[2.5]])) == Tensor(2.5).item() == 2.5
    assert bool(Tensor(1.0)) and not Tensor([0.0])
    with pytest.raises(ShapeError, match=r"Tensor of shape \(2,\).item\(\): expected one number"):
        float(Tensor([1, 2]))
    with pytest.raises(ShapeError, match=r"truth of Tensor 'mask': expected one number"):
        bool(Tensor([1, 2], name="mask"))


def test_iterating_gives_recorded_rows_and_ends() -> None:
    x = leaf([[1, 2], [3, 4]])
    rows = list(x)
    assert [values(row) for row in rows] == [[1, 2], [3, 4]]
    assert values(grad((rows[0] * rows[1]).sum(), x)) == [[3, 4], [1, 2]]
    assert list(Tensor(np.zeros((0, 2)))) == []
    with pytest.raises(TypeError):
        iter(Tensor(1.0)).__next__()


def test_numpy_can_read_a_tensor() -> None:
    x = leaf([1, 2])
    assert np.asarray(x).dtype == np.float32
    assert np.asarray(x, np.float64).tolist() == [1, 2]
    np.testing.assert_allclose(x, [1, 2])
    copy = np.array(x)
    copy[0] = 9
    assert values(x) == [1, 2]


def test_repr() -> None:
    assert repr(leaf([1, 2], name="w")) == (
        "Tensor([1., 2.], dtype=float32, name='w', requires_grad=True)"
    )
    assert repr(leaf(2.0) * 3) == "Tensor(6., dtype=float32, op=multiply)"
    assert repr(Tensor(np.array([True]))) == "Tensor([ True], dtype=bool)"
    assert len(repr(Tensor(np.zeros((1000, 1000))))) < 1000, "large arrays are abbreviated"


def test_operators_agree_with_numpy_in_either_order() -> None:
    a, b = np.array([[1.0, 2.0]]), np.array([[3.0, 0.5]])
    orders: list[tuple[Any, Any]] = [(Tensor(a), Tensor(b)), (Tensor(a), b), (a, Tensor(b))]
    for x, y in orders:
        pairs = [
            (x + y, a + b), (x - y, a - b), (x * y, a * b), (x / y, a / b), (x**y, a**b),
            (x @ y.T, a @ b.T), (x > y, a > b), (x >= y, a >= b), (x < y, a < b), (x <= y, a <= b),
        ]  # fmt: skip
        for ours, theirs in pairs:
            assert isinstance(ours, Tensor), "array * tensor is a tensor, not an array of tensors"
            np.testing.assert_array_equal(ours.data, theirs)
    x = Tensor(a)
    for ours, theirs in [(2 + x, 2 + a), (2 - x, 2 - a), (2 / x, 2 / a), (2**x, 2**a), (-x, -a)]:
        np.testing.assert_array_equal(ours.data, theirs)
    np.testing.assert_array_equal(abs(-x).data, a)
    np.testing.assert_array_equal((a @ Tensor(b.T)).data, a @ b.T)


def test_methods() -> None:
    a = np.arange(6.0).reshape(2, 3)
    x = Tensor(a)
    for ours, theirs in [
        (x.sum(0), a.sum(0)),
        (x.mean(axis=1, keepdims=True), a.mean(axis=1, keepdims=True)),
        (x.max(), a.max()),
        (x.reshape(3, 2), a.reshape(3, 2)),
        (x.reshape((3, -1)), a.reshape(3, 2)),
        (x.reshape(-1), a.reshape(-1)),
        (x.transpose(), a.T),
        (x.transpose(1, 0), a.T),
        (x.transpose((0, 1)), a),
        (x[0].transpose(0), a[0]),
        (x[:, 1], a[:, 1]),
    ]:
        np.testing.assert_array_equal(ours.data, theirs)


# -- dtypes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "number", [2, 2.5, True, np.float32(2), np.float64(2), np.int64(2), np.sqrt(2)]
)
def test_single_numbers_leave_the_dtype_alone(number: Any, dtype: Any) -> None:
    x = leaf([1, 2], dtype)
    functions: list[Callable[[Any], Any]] = [
        lambda t: t + number, lambda t: number - t, lambda t: t * number, lambda t: number / t,
        lambda t: t**number, lambda t: number**t, lambda t: ops.maximum(t, number),
    ]  # fmt: skip
    for function in functions:
        y = function(x)
        assert y.dtype == dtype
        for create_graph in (False, True):
            assert grad(y.sum(), x, create_graph=create_graph).dtype == dtype


@pytest.mark.parametrize(
    "other",
    [
        Tensor(np.ones(2)),
        np.ones(2),
        np.array(1.0),
        np.ones(2, np.int64),
        Tensor(np.ones(2, np.int64)),
        np.ones(2, np.float16),
    ],
)
def test_two_dtypes_are_refused(other: Any) -> None:
    x = leaf([1, 2])
    functions: list[Callable[[], Any]] = [
        lambda: x + other, lambda: other + x, lambda: ops.maximum(other, x),
    ]  # fmt: skip
    for function in functions:
        with pytest.raises(
            DtypeError, match=r"expected inputs of one dtype, received f.* and .*32"
        ):
            function()
    with pytest.raises(DtypeError, match="operation 'multiply'.*never changes a dtype silently"):
        x * other


@pytest.mark.parametrize("other", [[1.0, 2.0], (1, 2), "2", None, {}])
def test_lists_and_the_like_are_refused(other: Any) -> None:
    with pytest.raises(DtypeError, match="expected tensors, arrays and numbers, received"):
        leaf([1, 2]) + other


def test_booleans_are_zeros_and_ones() -> None:
    x, mask = leaf([1, 2]), np.array([True, False])
    for m in (mask, Tensor(mask)):
        y = x * m
        assert y.dtype == np.float32
        assert values(grad(y.sum(), x)) == [1, 0]


def test_integers_compute_without_gradients() -> None:
    n = Tensor(np.array([1, 2]))
    assert (n + n).dtype == np.int64
    assert not (n + n).requires_grad
    x = leaf([1, 2, 3])
    assert values(grad(x[n].sum(), x)) == [0, 1, 1]


# -- gradients -------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(shapes=broadcastable_shapes(min_side=0))
def test_broadcasting_is_undone(shapes: Any) -> None:
    a, b = (leaf(np.ones(shape), np.float64) for shape in shapes)
    both = a + b
    both.backward(np.ones(both.shape))
    for x in (a, b):
        assert x.grad is not None and x.grad.shape == x.shape
        repeats = both.size / x.size if x.size else 0
        np.testing.assert_array_equal(x.grad.data, np.full(x.shape, repeats))


def test_a_tensor_used_many_times() -> None:
    x = leaf([1.0, 2.0])
    y = x * x + x / x + (x + x) * x
    assert values(grad(y.sum(), x)) == [6, 12]
    total = x
    for _ in range(10):
        total = total + total  # 2^10 paths, 10 nodes
    assert values(grad(total.sum(), x)) == [1024, 1024]


@settings(max_examples=15, deadline=None)
@given(arrays((2, 3)), arrays((3, 2)), arrays(2))
def test_a_small_network_to_second_order(x: Any, w: Any, b: Any) -> None:
    assert_gradients(lambda *t: ops.softmax(ops.tanh(ops.linear(*t))), x, w, b, order=2)


def test_backward_again_gives_the_same_and_does_not_add_up() -> None:
    x = leaf([1.0, 2.0])
    y = (x**3).sum()
    y.backward()
    first = values(x.grad)
    y.backward()
    assert values(x.grad) == first == [3, 12]


def test_backward_from_a_leaf_and_from_one_number() -> None:
    x = leaf(3.0)
    x.backward()
    assert values(x.grad) == 1
    y = leaf([[2.0]]) * 5
    y.backward()
    assert values(y.inputs[0].grad) == [[5]]


def test_upstream_gradient() -> None:
    x = leaf([1.0, 2.0])
    y = x * 3
    for seed in ([1, 10], np.array([1.0, 10.0]), Tensor([1, 10])):
        y.backward(seed)
        assert values(x.grad) == [3, 30]


def test_upstream_gradient_that_does_not_fit() -> None:
    x = leaf([1.0, 2.0])
    y = x * 3
    with pytest.raises(
        ShapeError, match=r"a single number to start from, received shape \(2,\).*su"
    ):
        y.backward()
    with pytest.raises(ShapeError, match=r"expected shape \(2,\), received \(3,\)"):
        y.backward(np.ones(3))
    with pytest.raises(ShapeError, match=r"expected shape \(2,\), received \(\)"):
        grad(y, x, 1.0)
    with pytest.raises(DtypeError, match="expected float32, received float64"):
        y.backward(Tensor(np.ones(2)))
    assert x.grad is None


def test_backward_needs_something_recorded() -> None:
    for tensor in (Tensor([1.0], name="x"), Tensor([1.0]) * 2):
        with pytest.raises(
            GraphError, match=r"does not depend on any tensor with requires_grad=Tr"
        ):
            tensor.backward()
    with no_grad():
        y = leaf([1.0]) * 2
    with pytest.raises(GraphError, match=r"or was made under no_grad\(\)"):
        y.backward()


def test_grad_leaves_no_trace() -> None:
    x, y = leaf([1.0]), leaf([2.0])
    gx, gy = grad((x * y).sum(), [x, y])
    assert (values(gx), values(gy)) == ([2], [1])
    assert x.grad is None and y.grad is None


def test_grad_of_an_input_that_is_not_used_is_zeros() -> None:
    x, unused = leaf([1.0]), leaf(np.ones((2, 3)), np.float64)
    g = grad(x.sum(), unused)
    assert (g.shape, g.dtype) == ((2, 3), np.float64)
    assert not g.data.any()


def test_grad_of_something_in_between() -> None:
    x = leaf([1.0, 2.0])
    h = x * 3
    y = (h * h).sum()
    assert values(grad(y, h)) == [6, 12]
    assert [values(g) for g in grad(y, [y, h, x])] == [1, [6, 12], [18, 36]]
    assert h.grad is None


def test_interior_nodes_keep_no_gradient() -> None:
    x = leaf([1.0])
    h = x * 2
    y = (h * h).sum()
    y.backward()
    assert x.grad is not None and h.grad is None and y.grad is None


def test_detach_cuts_the_graph() -> None:
    x = leaf([2.0])
    y = (x * x.detach()).sum()
    assert values(grad(y, x)) == [2]
    assert not x.detach().requires_grad


def test_relu_passes_nan_on() -> None:
    assert np.isnan(ops.relu(leaf([np.nan])).data[0])


# -- gradients of gradients ------------------------------------------------------------------------


def test_three_derivatives_of_a_cube() -> None:
    x = leaf(2.0, np.float64)
    y = x**3
    found = []
    for _ in range(4):
        y = grad(y, x, create_graph=True)
        found.append(y.item())
        if not y.requires_grad:
            break
    assert found == [12, 12, 6]


def test_three_derivatives_of_tanh() -> None:
    x = leaf(0.5, np.float64)
    t = np.tanh(0.5)
    first = grad(ops.tanh(x), x, create_graph=True)
    second = grad(first, x, create_graph=True)
    third = grad(second, x)
    s = 1 - t**2
    assert first.item() == pytest.approx(s, rel=1e-15)
    assert second.item() == pytest.approx(-2 * t * s, rel=1e-15)
    assert third.item() == pytest.approx(-2 * s**2 + 4 * t**2 * s, rel=1e-14)
    assert not third.requires_grad


def test_a_gradient_can_be_part_of_a_loss() -> None:
    x = leaf([1.0, 2.0], np.float64)
    y = (x**2).sum()
    y.backward(create_graph=True)
    assert x.grad is not None and x.grad.requires_grad
    penalty = (x.grad**2).sum()  # 4·x²
    assert values(grad(penalty, x)) == [8, 16]


def test_without_create_graph_a_gradient_is_a_constant() -> None:
    x = leaf([1.0])
    assert not grad((x**2).sum(), x).requires_grad


# -- size and memory -------------------------------------------------------------------------------


def test_a_chain_of_100000_operations() -> None:
    x = leaf(1.0, np.float64)
    y = x
    for _ in range(100_000):
        y = y + 0.5
    for _ in range(2):
        y.backward()
        assert values(x.grad) == 1
    assert y.item() == 50_001
    del y  # must not recurse either


def test_a_chain_with_its_gradient_recorded() -> None:
    x = leaf(1.0, np.float64)
    y = x
    for _ in range(10_000):
        y = y * 1.0
    g = grad(y * y, x, create_graph=True)
    assert grad(g, x).item() == 2
    del y, g


def test_the_graph_goes_when_its_result_goes() -> None:
    x = leaf([1.0])
    h = x * 2
    y = (h * h).sum()
    y.backward()
    remains = weakref.ref(h)
    gc.disable()  # freed at once, by reference counts alone
    try:
        del h, y
        assert remains() is None
    finally:
        gc.enable()
    assert x.grad is not None


def test_nothing_is_kept_where_nothing_is_recorded() -> None:
    x = leaf([1.0])
    with no_grad():
        y = (x * 2) * 3
    assert (y.op, y.inputs, y.arrays) == (None, (), ())
    constant = Tensor([1.0]) * 2
    assert (constant.op, constant.inputs) == (None, ())


def test_a_frozen_part_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(cls: Any) -> None:
        original = cls.gradient

        def gradient(self: Any, index: int, *rest: Any) -> Any:
            calls.append(f"{self.name} {index}")
            return original(self, index, *rest)

        monkeypatch.setattr(cls, "gradient", gradient)

    for name in ("relu", "multiply", "sum"):
        counted(ops.OPERATIONS[name])
    kind = ops.OPERATIONS["linear"]
    together = kind.gradients

    def gradients(self: Any, wanted: tuple[bool, ...], *rest: Any) -> Any:
        shares = together(self, wanted, *rest)
        assert wanted == tuple(share is not None for share in shares)
        calls.extend(f"linear {i}" for i, asked in enumerate(wanted) if asked)
        return shares

    monkeypatch.setattr(kind, "gradients", gradients)

    x, w, b = Tensor([[1.0, 2.0]]), Tensor(np.ones((2, 2), np.float32)), Tensor([0, 0])
    head = leaf([[3.0, 4.0]])
    base = ops.relu(ops.linear(x, w, b))
    assert base.op is None, "frozen: not even recorded"
    loss = (base * head).sum()
    loss.backward()
    assert calls == ["sum 0", "multiply 1"]

    # A frozen layer above a trainable one lets the gradient through, to its input alone.
    calls.clear()
    out = ops.linear(leaf([[1.0, 2.0]]), w, b)
    grad(out.sum(), out.inputs[0])
    assert calls == ["sum 0", "linear 0"]


def test_freezing_counts_at_once() -> None:
    w = leaf([2.0])
    x = leaf([3.0])
    y = (w * x).sum()
    w.requires_grad = False
    y.backward()
    assert w.grad is None
    assert values(x.grad) == [2]


# -- no_grad ---------------------------------------------------------------------------------------


def test_no_grad_nests_and_survives_exceptions() -> None:
    x = leaf([1.0])
    with no_grad():
        with no_grad():
            assert not (x * 2).requires_grad
        assert not (x * 2).requires_grad
        with pytest.raises(ZeroDivisionError), no_grad():
            raise ZeroDivisionError
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_no_grad_as_a_decorator() -> None:
    @no_grad()
    def double(t: Tensor) -> Any:
        return t * 2

    x = leaf([1.0])
    assert not double(x).requires_grad
    assert (x * 2).requires_grad


def test_no_grad_is_for_one_thread() -> None:
    x = leaf([1.0])
    inside, done = threading.Event(), threading.Event()
    found: list[bool] = []

    def other() -> None:
        with no_grad():
            inside.set()
            done.wait(5)
            found.append((x * 2).requires_grad)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(5)
    assert (x * 2).requires_grad
    done.set()
    thread.join()
    assert found == [False]


def test_threads_have_graphs_of_their_own() -> None:
    x = leaf([2.0], np.float64)
    found: list[float] = []

    def work(power: int) -> None:
        for _ in range(50):
            y = x
            for _ in range(power - 1):
                y = y * x
            found.append(grad(y.sum(), x).item() - power * 2 ** (power - 1))

    together(work, (2, 3, 4, 5))
    assert found == [0] * 200


# -- edits -----------------------------------------------------------------------------------------


def test_a_recorded_array_is_read_only() -> None:
    x = leaf([1.0, 2.0], name="w")
    x[0] = 5  # nothing recorded yet
    y = x * x
    with pytest.raises(
        GraphError, match=r"Tensor 'w' was used by a recorded operation, .* \.numpy"
    ):
        x[0] = 1
    with pytest.raises(GraphError, match="Assign a new array to .data"):
        y[0] = 1
    for array in (x.data, y.data):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    constant = Tensor([3.0, 4.0])
    x * constant
    with pytest.raises(GraphError):
        constant[0] = 1
    assert values(grad(y.sum(), x)) == [10, 4]


def test_a_view_of_a_recorded_array_is_read_only() -> None:
    x = leaf([[1.0, 2.0]])
    y = x.T
    for tensor in (y, y.reshape(-1), y[0], x.detach()):
        with pytest.raises(ValueError, match="read-only"):
            tensor.data[...] = 1


def test_what_is_not_recorded_can_be_edited() -> None:
    x = Tensor([1.0, 2.0])
    y = x * 2
    x[0], y[1] = 7, 9
    assert (values(x), values(y)) == ([7, 2], [2, 9])
    w = leaf([1.0])
    with no_grad():
        w * 2
    w[0] = 3


@pytest.mark.parametrize("create_graph", [False, True])
def test_an_array_of_the_caller_can_be_edited_afterwards(create_graph: bool) -> None:
    x, array = leaf([1.0, 2.0]), np.array([3, 4], np.float32)
    y = (x * array).sum()
    array[:] = 0
    assert values(grad(y, x, create_graph=create_graph)) == [3, 4]


def test_assigning_data() -> None:
    w = leaf([1.0, 2.0], name="w")
    y = (w**2).sum()
    w.data = np.array([5, 6], np.float32)
    assert values(w) == [5, 6]
    assert values(grad(y, w)) == [2, 4], "the graph keeps what it was computed from"
    with pytest.raises(GraphError, match=r"Tensor 'w' was given new data after operation 'power'"):
        grad(y, w, create_graph=True)


def test_assigned_data_must_fit() -> None:
    w = leaf([1.0, 2.0], name="w")
    with pytest.raises(
        ShapeError, match=r"assigning to Tensor 'w'.data: expected shape \(2,\), rec"
    ):
        w.data = np.zeros(3, np.float32)
    with pytest.raises(DtypeError, match=r"float32, received float64\. .*astype\(np\.float32\)"):
        w.data = np.zeros(2)
    y = w * 2
    with pytest.raises(GraphError, match=r"is the result of operation 'multiply'"):
        y.data = np.zeros(2, np.float32)


def test_wrap_does_not_copy() -> None:
    array = np.ones(2)
    assert wrap(array).data is array


def test_names() -> None:
    x = Tensor([1.0])
    assert x.named("pixels") is x
    assert x.name == "pixels"


def test_an_unrecorded_view_cannot_be_edited_behind_a_record() -> None:
    constant = Tensor([1.0, 2.0])
    seen = constant.reshape(2, 1)
    x = Tensor([[3.0], [4.0]], requires_grad=True)
    product = (x * seen).sum()
    with pytest.raises(GraphError, match=r"read|edited"):
        constant[0] = 50
    product.backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.data, [[1.0], [2.0]])


def test_gradients_do_not_share_memory() -> None:
    a, b = (Tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    seed = Tensor([1.0, 1.0])
    (a + b).backward(seed)
    assert a.grad is not None and b.grad is not None
    a.grad[0] = 7
    np.testing.assert_array_equal(b.grad.data, [1.0, 1.0])
    np.testing.assert_array_equal(seed.data, [1.0, 1.0])
