"""What a classifier says about each row, in formulas: the class, how sure, how often right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minnet.errors import ArgumentError, mismatch
from minnet.spreadsheet.blocks import NORMAL
from minnet.spreadsheet.formulas import Formulas
from minnet.spreadsheet.labels import LOSS
from minnet.spreadsheet.operands import Cells
from minnet.spreadsheet.passes import Pass
from minnet.spreadsheet.plan import Plan
from minnet.spreadsheet.trace import Node
from minnet.tensor import Array

CLASS_NAMES = "class_names"  # the defined name of their list
MOST_TERMS = 60  # the accuracy's formula has one for each prediction
Reading = tuple[float | str, str]  # a value and its formula


class Answers:
    """The rows of a softmax, or of a single sigmoid, as classes.

    ``names``: of the classes, in the order of the outputs; without them classes are numbers that
    count from 0.
    """

    def __init__(
        self, found: Node, target: Node | None, plan: Plan, formulas: Formulas, names: Sequence[str]
    ):
        self.found, self._target, self._names = found, target, names
        self._values: Array = found.value.reshape(-1, found.shape[-1])
        self._cells = formulas.cells_of(plan.blocks[found])
        self._truth = None if target is None else formulas.cells_of(plan.blocks[target])
        self._one = self._values.shape[1] == 1  # a sigmoid: yes or no
        self.by_output = found.name == "sigmoid" or self._one
        self.rows = len(self._values)
        if target is not None and not self._says_classes(target):
            self._target = self._truth = None

    def _says_classes(self, target: Node) -> bool:
        """Whether a target is a number for each output, or a class; a loss of one's own may take
        anything."""
        values = target.value
        if values.size == self._values.size:
            return True
        labels = values.size == self.rows and np.equal(values, np.floor(values)).all()
        return bool(labels and values.min() >= 0 and values.max() < self._values.shape[1])

    @property
    def single(self) -> bool:
        """Whether each row is of one class, not of several or none at once."""
        return self._one or not self.by_output

    def answer(self, row: int) -> Reading:
        """The class that is found most probable in a row."""
        width = self._values.shape[1]
        if self._one:
            cell = self._cells.cell(row)
            return self._named(int(self._values[row, 0] > 0.5), f"IF({cell}>0.5,2,1)")
        place = place_of_largest(self._cells, row, width)
        return self._named(int(self._values[row].argmax()), place)

    def sureness(self, row: int) -> Reading:
        """The probability of that class."""
        width = self._values.shape[1]
        if self._one:
            p, cell = float(self._values[row, 0]), self._cells.cell(row)
            return max(p, 1 - p), f"MAX({cell},1-{cell})"
        area = self._cells.area(np.arange(row * width, (row + 1) * width))
        return float(self._values[row].max()), f"MAX({area})"

    @property
    def has_targets(self) -> bool:
        return self._target is not None

    def wanted(self, row: int) -> Reading:
        """The class that the target says, where there is one."""
        assert self._target is not None and self._truth is not None
        targets = self._target.value.reshape(self.rows, -1)
        if targets.shape[1] > 1:
            place = place_of_largest(self._truth, row, targets.shape[1])
            return self._named(int(targets[row].argmax()), place)
        cell = self._truth.cell(row)
        if self._one:
            return self._named(int(targets[row, 0] > 0.5), f"IF({cell}>0.5,2,1)")
        return self._named(int(targets[row, 0]), f"{cell}+1")

    def _named(self, number: int, place: str) -> Reading:
        """A class by its place among the outputs, counted from 1."""
        if self._names:
            return str(self._names[number]), f"INDEX({CLASS_NAMES},{place})"
        return number, f"{place}-1"

    def accuracy(self) -> tuple[float, str] | None:
        """The share of right predictions, as the metric ``accuracy`` has it; None without targets,
        or for more predictions than one formula can name."""
        count = self.found.value.size if self.by_output else self.rows
        if self._target is None or self._truth is None or count > MOST_TERMS:
            return None
        found, target = self.found.value, self._target.value
        if self.by_output:
            right = (found > 0.5) == (target.reshape(found.shape) > 0.5)
            terms = [_same_answer(self._cells.cell(k), self._truth.cell(k)) for k in range(count)]
        else:
            targets = target.reshape(count, -1)
            one_hot = targets.shape[1] > 1
            right = self._values.argmax(1) == (targets.argmax(1) if one_hot else targets[:, 0])
            width = self._values.shape[1]
            wanted = [
                place_of_largest(self._truth, i, width) if one_hot else f"{self._truth.cell(i)}+1"
                for i in range(count)
            ]
            terms = [
                f"IF({place_of_largest(self._cells, i, width)}={w},1,0)"
                for i, w in enumerate(wanted)
            ]
        return float(np.mean(right)), f"({'+'.join(terms)})/{count}"


def answers_of(
    step: Pass, plan: Plan, formulas: Formulas, names: Sequence[str] = (), own: bool = False
) -> Answers | None:
    """What the pass of a classifier says: the softmax or sigmoid of its loss, or an output.

    A sigmoid that is trained by another loss than a classifier's may be any number from 0 to 1; it
    is a class where classes have names. ``own``: the names are the model's, and nobody asked for
    them here.

    Raises :class:`~minnet.errors.ArgumentError` for another number of names than of classes.
    """
    found = _probabilities(step, plan, bool(names))
    if found is None:
        if names and not own:
            raise ArgumentError(mismatch("class_names", "a classifier", "a model of another kind"))
        return None
    require_names(names, found.shape[-1])
    return Answers(found, step.target, plan, formulas, names)


def require_names(names: Sequence[str], outputs: int) -> None:
    """Raises :class:`~minnet.errors.ArgumentError` for names, if there are any, that are not one
    for each class; a single output has two."""
    classes = max(2, outputs)
    if "" in names:  # of which spreadsheets make the number 0
        raise ArgumentError(mismatch("class_names", "a name for each class", "an empty one"))
    if names and len(names) != classes:
        expected = f"a name for each of {classes} classes"
        raise ArgumentError(mismatch("class_names", expected, f"{len(names)} names"))


def _probabilities(step: Pass, plan: Plan, named: bool) -> Node | None:
    for node in plan.blocks:
        in_loss = node.scope.name == LOSS and node.value.ndim == 2
        if in_loss and node.name in ("softmax", "sigmoid"):
            return node
    for node in step.outputs:
        if node.value.ndim < 2 or node not in plan.blocks or plan.blocks[node].lies != NORMAL:
            continue
        sigmoid = node.op is not None and node.op.name == "sigmoid"
        if node.name == "softmax" or (sigmoid and (named or step.rate is None)):
            return node
    return None


def _same_answer(prediction: str, truth: str) -> str:
    # Not (p>0.5)=(y>0.5): not every program compares truth values.
    return f"IF({prediction}>0.5,IF({truth}>0.5,1,0),IF({truth}>0.5,0,1))"


def place_of_largest(cells: Cells, row: int, width: int) -> str:
    """The place, counted from 1, of a row's largest number."""
    area = cells.area(np.arange(row * width, (row + 1) * width))
    return f"MATCH(MAX({area}),{area},0)"
