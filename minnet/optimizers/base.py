"""How parameters follow their gradients: what all optimizers have in common.

An update is written in operations and works on numbers, arrays and tensors alike, so the workbook
shows an optimizer's formulas without a second definition of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from minnet import configs, schedules
from minnet.bundles import Bundle, Bundles, parts_of
from minnet.checks import not_negative, positive
from minnet.errors import ArgumentError, ShapeError, mismatch
from minnet.ops.pointwise import maximum, minimum
from minnet.ops.reduce import sum as total
from minnet.schedules import Schedule
from minnet.tensor import Array, Tensor, called, wrap

State = dict[str, Any]


class Optimizer:
    """The contract. An optimizer of your own implements ``update``, and ``start`` if it remembers.

    >>> class Sluggish(Optimizer):
    ...     def start(self, parameter):
    ...         return {"mean": np.zeros_like(parameter)}
    ...
    ...     def update(self, parameter, gradient, lr, state):
    ...         state["mean"] = 0.5 * state["mean"] + 0.5 * gradient
    ...         return parameter - lr * state["mean"]

    ``lr`` (or ``learning_rate``): a number or a :class:`~minnet.schedules.Schedule`; may be
    assigned at any time. ``decay``: the rate of step t is divided by 1 + decay · t. ``clipnorm``: a
    parameter's gradient that is longer is shortened to this length, each on its own.
    ``clipvalue``: each number of a gradient is kept between −clipvalue and clipvalue.

    Raises :class:`~minnet.errors.ArgumentError` for numbers out of their range, and where both ways
    of clipping are asked for.
    """

    default_lr: ClassVar[float] = 0.001
    #: Whether ``update`` treats each number by itself, so that it can be given those of all
    #: parameters in one array (:meth:`step_at_once`). A subclass does not inherit it.
    elementwise: ClassVar[bool] = False
    #: The names that ``shared`` may have, besides those of the schedule.
    shared_names: ClassVar[tuple[str, ...]] = ("iterations",)

    def __init__(
        self,
        lr: float | Schedule | None = None,
        *,
        learning_rate: float | Schedule | None = None,
        decay: float = 0.0,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
    ):
        kind = type(self).__name__
        if lr is not None and learning_rate is not None:
            raise ArgumentError(
                mismatch(kind, "lr or learning_rate", "both", "They mean the same.")
            )
        if clipnorm is not None and clipvalue is not None:
            raise ArgumentError(mismatch(kind, "clipnorm or clipvalue", "both"))
        #: What is remembered of each parameter: arrays of its shape, and Python numbers.
        self.slots: dict[Tensor, State] = {}
        #: What is remembered besides: the number of steps taken.
        self.shared: State = self.shared_start()
        self._schedule: Schedule | None = None
        self._loaded: dict[str, State] = {}  # read from a file, waiting for its parameter
        self._values, self._states = Bundle(), Bundles()
        given = learning_rate if lr is None else lr
        self.lr = self.default_lr if given is None else given
        self.decay = not_negative(f"{kind} decay", decay)
        self.clipnorm = None if clipnorm is None else positive(f"{kind} clipnorm", clipnorm)
        self.clipvalue = None if clipvalue is None else positive(f"{kind} clipvalue", clipvalue)

    # -- for subclasses --------------------------------------------------------------------------

    @property
    def rule(self) -> str:
        """The update in words, for the workbook."""
        return "new weight = weight − what the optimizer makes of its gradient"

    def start(self, parameter: Array) -> State:
        """What is remembered of a parameter before its first step, by name."""
        return {}

    def update(self, parameter: Any, gradient: Any, lr: Any, state: State) -> Any:
        """The new value of a parameter; numbers, arrays or tensors in, the same kind out.

        ``state``: what :meth:`start` gave; a new value is put in an old one's place.
        """
        raise NotImplementedError(f"{type(self).__name__}.update")

    def shared_start(self) -> State:
        """What is remembered besides the parameters' own states before the first step, by name."""
        return {"iterations": 0}

    def rate(self, lr: Any, shared: State, loss: Any) -> Any:
        """The rate of a step, given the one that was set: numbers or tensors, as ``lr`` is."""
        if self._schedule is not None:
            lr = lr * self._schedule.scale(shared)
        return lr / (1 + self.decay * shared["iterations"]) if self.decay else lr

    # -- the learning rate -------------------------------------------------------------------------

    @property
    def lr(self) -> Any:
        """The learning rate that was set; of a schedule, that of the next step.

        What is assigned takes effect at the next step; a number takes a schedule's place.
        """
        schedule = self._schedule
        return self._lr if schedule is None else float(schedule.lr * schedule.scale(self.shared))

    @lr.setter
    def lr(self, value: float | Schedule) -> None:
        new: Schedule | None = None
        if isinstance(value, (Schedule, dict)):
            new = schedules.get(value)
        else:
            self._lr = positive(f"{type(self).__name__} lr", value)
        for name in () if self._schedule is None else self._schedule.names:
            self.shared.pop(name, None)
        self._schedule = new
        self.shared |= {} if new is None else new.start()

    learning_rate = lr

    @property
    def base_lr(self) -> float:
        """The number behind the rates of all steps: ``lr``, or the schedule's own ``lr``."""
        return self._lr if self._schedule is None else self._schedule.lr

    @base_lr.setter
    def base_lr(self, value: float) -> None:
        if self._schedule is None:
            self.lr = value
        else:
            self._schedule.lr = positive(f"{type(self._schedule).__name__} lr", value)

    # -- steps -------------------------------------------------------------------------------------

    @property
    def iterations(self) -> int:
        """The number of steps taken."""
        return int(self.shared["iterations"])

    def step(
        self,
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor | None],
        loss: float | None = None,
    ) -> None:
        """Give each parameter its new value; one that the loss does not depend on stays.

        ``loss``: of the batch, for optimizers that look at it. A new array is assigned each time: a
        graph recorded earlier keeps the old one.
        """
        rate = self._rate(loss)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                state = self.state_of(parameter)
                parameter.data = self.moved(parameter, parameter._data, gradient._data, rate, state)
        self._count(rate)

    def step_at_once(
        self, parameters: Sequence[Tensor], gradient: Array, loss: float | None = None
    ) -> None:
        """:meth:`step`, where all gradients lie one after the other in one flat array."""
        states = [self.state_of(parameter) for parameter in parameters]
        values = [parameter._data for parameter in parameters]
        factors = {getattr(parameter, "lr_multiplier", 1.0) for parameter in parameters}
        alike = vars(type(self)).get("elementwise") and self.clipnorm is None and len(factors) == 1
        state = self._states.joined(states, values) if alike else None
        if state is None:
            self.step(parameters, [wrap(part) for part in parts_of(gradient, values)], loss)
            return
        rate = self._rate(loss)
        new = self.moved(parameters[0], self._values.joined(values), gradient, rate, state)
        for parameter, part in zip(parameters, self._values.split(new, values), strict=True):
            parameter._data = part
        self._states.split(state, states, values)
        self._count(rate)

    def values_of(self, parameters: Sequence[Tensor]) -> Array:
        """All their numbers in one flat array, not copied where no other step came in between."""
        return self._values.joined([parameter._data for parameter in parameters])

    def _rate(self, loss: float | None) -> float:
        # A Python float has no dtype of its own, where a NumPy one would make float32 float64.
        return float(self.rate(self.base_lr, self.shared, loss))

    def _count(self, rate: float) -> None:
        """The end of a step."""
        self.look_back(self.slots.values(), self.shared, rate)
        self.shared["iterations"] += 1

    def look_back(self, states: Collection[State], shared: State, rate: Any) -> None:
        """Let a schedule judge the step that has been taken: numbers, arrays or tensors."""
        if self._schedule is not None:
            self._schedule.after_step(states, shared, rate)

    def moved(self, parameter: Tensor, value: Any, gradient: Any, rate: Any, state: State) -> Any:
        """``update``, with the gradient clipped and the rate multiplied by the layer's factor."""
        if self.clipnorm is not None:
            norm = total(called("squared gradient", gradient * gradient)) ** 0.5
            factor = called("clip factor", self.clipnorm / maximum(norm, self.clipnorm))
            gradient = called("clipped gradient", gradient * factor)
        elif self.clipvalue is not None:
            within = minimum(maximum(gradient, -self.clipvalue), self.clipvalue)
            gradient = called("clipped gradient", within)
        own = getattr(parameter, "lr_multiplier", 1.0)
        try:
            return self.update(value, gradient, rate if own == 1 else rate * own, state)
        except KeyError as error:
            (name,) = error.args or (None,)
            if name in state or name not in self.start(np.zeros(1)):
                raise
            received = f"no {name!r} from the steps before"
            advice = "A setting that needs it was changed: give it to a new optimizer, or reset()."
            expected = "what its settings need"
            raise ArgumentError(mismatch(type(self).__name__, expected, received, advice)) from None

    # -- what is remembered ------------------------------------------------------------------------

    def state_of(self, parameter: Tensor) -> State:
        """What is remembered of a parameter; a new one starts afresh, or with what was loaded.

        Raises :class:`~minnet.errors.ShapeError` where that has another shape.
        """
        state = self.slots.get(parameter)
        if state is None:
            state = self.start(parameter._data)
            loaded = self._loaded.pop(str(parameter.name), None)
            if loaded is not None:
                state = {k: _fitting(parameter, k, v, loaded[k]) for k, v in state.items()}
            self.slots[parameter] = state
        return state

    def reset(self) -> None:
        """Forget all steps taken; the settings stay. ``model.compile`` does it."""
        self.slots, self._loaded, self.shared = {}, {}, self._all_shared()

    def forget(self, parameters: Iterable[Tensor]) -> None:
        """Drop what is remembered of parameters that have left the model."""
        for parameter in parameters:
            self.slots.pop(parameter, None)

    def cast(self, parameter: Tensor) -> None:
        """A parameter has got another dtype; so does what is remembered of it."""
        state = self.slots.get(parameter, {})
        for name, value in state.items():
            if not isinstance(value, int):
                state[name] = np.asarray(value, parameter.dtype)

    # -- saving ------------------------------------------------------------------------------------

    def config(self) -> configs.Config:
        """The keyword arguments that make an equal optimizer, as JSON can hold them."""
        lr = self._lr if self._schedule is None else configs.of_object(self._schedule)
        return {
            "lr": lr,
            "decay": self.decay,
            "clipnorm": self.clipnorm,
            "clipvalue": self.clipvalue,
        }

    @classmethod
    def from_config(cls, config: configs.Config) -> Optimizer:
        """An equal optimizer from what :meth:`config` gave; it has taken no steps."""
        return cls(**config)

    def state_arrays(self, parameters: Iterable[Tensor] | None = None) -> dict[str, Array]:
        """Copies of what is remembered, of all parameters or of these, and besides them:
        '<parameter>/<slot>', 'iterations' and others.

        Raises :class:`~minnet.errors.ArgumentError` where two parameters share a name.
        """
        arrays = {name: np.array(value) for name, value in self.shared.items()}
        chosen = set(self.slots if parameters is None else parameters)
        states = [(str(p.name), state) for p, state in self.slots.items() if p in chosen]
        for name, state in [*states, *self._loaded.items()]:
            for slot, value in state.items():
                if f"{name}/{slot}" in arrays:
                    advice = "Give one of the layers another name."
                    received = f"two of name {name!r}"
                    raise ArgumentError(
                        mismatch(
                            type(self).__name__, "parameters of one name each", received, advice
                        )
                    )
                arrays[f"{name}/{slot}"] = np.array(value)
        return arrays

    def load_state_arrays(self, arrays: Mapping[str, Array]) -> None:
        """Go on from what :meth:`state_arrays` gave; a parameter takes its part at its next step.

        Raises :class:`~minnet.errors.ArgumentError`, and changes nothing, for the state of another
        optimizer or schedule.
        """
        kind = type(self).__name__
        wanted = set(self.start(np.zeros(1)))
        shared = self._all_shared()
        known = self.shared_names + (() if self._schedule is None else self._schedule.names)
        states: dict[str, State] = {}
        for key, array in arrays.items():
            name, _, slot = key.rpartition("/")
            if name and slot in wanted:
                states.setdefault(name, {})[slot] = array
            elif not name and key in known:
                shared[key] = np.asarray(array).item()
            else:
                expected = f"'iterations' and, for each parameter, {sorted(wanted) or 'nothing'}"
                raise ArgumentError(mismatch(f"{kind}'s state", expected, repr(key)))
        for name, state in states.items():
            if state.keys() != wanted:
                expected, received = f"{sorted(wanted)} of {name}", f"{sorted(state)}"
                raise ArgumentError(mismatch(f"{kind}'s state", expected, received))
        if "iterations" not in arrays:
            raise ArgumentError(mismatch(f"{kind}'s state", "'iterations'", "none"))
        self.slots, self._loaded, self.shared = {}, states, shared

    def _all_shared(self) -> State:
        """What is remembered besides parameters before the first step, the schedule's part too."""
        return self.shared_start() | ({} if self._schedule is None else self._schedule.start())


def rest(beta: float) -> float:
    """1 − beta as a person writes it: 0.1 for 0.9, where floating point has 0.09999999999999998."""
    return round(1 - beta, 15)


def _fitting(parameter: Tensor, slot: str, fresh: Any, loaded: Any) -> Any:
    """What was loaded, as the kind of thing that a fresh state has there."""
    if isinstance(fresh, int):
        return int(loaded)
    if np.shape(loaded) != np.shape(fresh):
        where, expected = f"{parameter.name}/{slot}", f"shape {np.shape(fresh)}"
        raise ShapeError(mismatch(where, expected, f"{np.shape(loaded)}"))
    return np.array(loaded, np.asarray(fresh).dtype)
