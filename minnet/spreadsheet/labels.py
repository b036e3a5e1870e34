"""What blocks are called: titles for people, defined names for programs, formulas in words."""

from __future__ import annotations

import re

from minnet.ops.base import COMPARISON, Operation, Placement, Pointwise
from minnet.spreadsheet.blocks import FILTERS, NORMAL, STACKED_FILTERS, TRANSPOSED
from minnet.spreadsheet.names import legal_name
from minnet.spreadsheet.plan import Plan
from minnet.spreadsheet.trace import FORWARD, UPDATE, Node, Scope

LONGEST_WORDS = 44
GRADIENT = "d "
INPUTS, FUNCTION, LOSS, RATE = "inputs", "function", "loss", "learning_rate"
OPTIMIZER = "optimizer"

_EXPLAINED = {
    "input": "an input: change a number",
    "target": "what it should be",
    "state": "from the steps before",
    "mask": "1 keeps, 0 drops: change it",
    "constant": "constants",
    "seed": "the chain rule starts with 1",
    "scale": "standard deviation of the draws",
}
_LEARNED = {
    TRANSPOSED: "one row per neuron",
    FILTERS: "a row of tiles per filter",
    STACKED_FILTERS: "filters side by side",
}


class Labels:
    """The words for every block of one plan."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self._short: dict[Node, str] = {}
        taken: set[tuple[str, str]] = set()
        for node, block in plan.blocks.items():
            if block.slot is node:
                label = own = self._own_name(node)
                count = 1
                while (node.scope.name, label) in taken:
                    count += 1
                    label = f"{own} {count}"
                taken.add((node.scope.name, label))
                self._short[node] = label

    @staticmethod
    def _own_name(node: Node) -> str:
        name = node.name or (node.op.name.removesuffix("2d") if node.op else node.kind)
        prefix = f"{node.scope.name}_"
        if name.startswith(prefix) and len(name) > len(prefix):
            name = name[len(prefix) :]
        return name.replace("_", " ")

    def short(self, node: Node) -> str:
        """The title of a block within its strip."""
        block = self._plan.blocks[node]
        if node in self._short:
            return self._short[node]
        slot = self._short.get(block.slot, "")
        if block.band == UPDATE and node.name is not None:
            return self._remembered(node, slot)
        if block.slot.gradient is node:
            return f"{GRADIENT}{slot}"
        if self.is_helper(node):
            return f"{slot}ᵀ" if block.lies == TRANSPOSED else f"{slot} again"
        if isinstance(node.op, Placement):
            return node.name or f"{slot} {node.op.done}"
        if block.band == FORWARD:
            return self._own_name(node)
        return f"for new {slot}" if block.band == UPDATE else f"back through {slot}"

    def is_looked_up(self, node: Node) -> bool:
        """Whether it is a table of which indices choose rows."""
        users = (other for other in self._plan.blocks if node in other.inputs)
        return any(user.op is not None and user.op.name == "take_rows" for user in users)

    def is_table(self, node: Node) -> bool:
        """Whether it is a parameter with a row for each index, not one for each neuron."""
        lies_so = self._plan.blocks[node].lies == NORMAL and not self._plan.as_written
        return node.kind == "parameter" and node.value.ndim == 2 and lies_so

    def is_helper(self, node: Node) -> bool:
        """Whether it is a copy that another formula needs to lie otherwise."""
        return node in self._plan.helpers.values()

    def _remembered(self, node: Node, slot: str) -> str:
        """A new value, or what the optimizer remembers of a tensor: "new weight velocity"."""
        name, of = str(node.name), str(self._plan.blocks[node].slot.name)
        new = "new " if name.startswith("new ") else ""
        own = name.removeprefix(new).removeprefix(of).removeprefix("_").replace("_", " ")
        return f"{new}{slot} {own}".rstrip()

    def defined_name(self, node: Node) -> str | None:
        """``<layer>_<tensor>[_grad|_new]`` for tensors, their gradients and new values."""
        block = self._plan.blocks[node]
        slot = block.slot
        own = slot.kind == "parameter" and slot.name  # as reading back looks for it
        base = own or re.sub(r"\W+", "_", self._full(slot))
        if node is block.slot:
            return legal_name(base)
        if block.slot.gradient is node:
            return legal_name(f"{base}_grad")
        if block.band == UPDATE and node.name is not None:
            new = node.name.startswith("new ")
            own = node.name.removeprefix("new ").removeprefix(str(slot.name)).removeprefix("_")
            own = f"_{own}" if own else ""
            return legal_name(base + re.sub(r"\W+", "_", own) + "_new" * new)
        return None

    def _full(self, node: Node) -> str:
        label = self._short.get(node, "")
        scope = node.scope.name
        if scope in ("", INPUTS, FUNCTION) or node.kind in ("input", "target") or label == scope:
            return label
        return f"{scope} {label}"

    def words(self, node: Node) -> str:
        """The formula in words, or what a leaf is for."""
        block = self._plan.blocks[node]
        if node.op is None:
            if node.kind == "parameter":
                if self.is_table(node):
                    return "row i stands for index i"
                learned = any(t.requires_grad for t in node.tensors)
                return _LEARNED.get(block.lies, "learned" if learned else "kept, not learned")
            return _EXPLAINED.get(node.kind, "")
        if self.is_helper(node):
            return "the same numbers" + (", transposed" if block.lies == TRANSPOSED else "")
        return "= " + shorten(self._formula(node, node.op))

    def whole_words(self, node: Node) -> str | None:
        """The formula in words where :meth:`words` had to cut it."""
        if node.op is None or not self.words(node).endswith("…"):
            return None
        return f"{self.short(node)} = {self._formula(node, node.op)}"

    def _formula(self, node: Node, op: Operation) -> str:
        return _typeset(op.words(*self._operands(node, node)))

    def _operands(self, node: Node, user: Node) -> list[str]:
        """What a node was made of, as the formula in words of ``user`` mentions it."""
        needs = (
            node.op.needs if isinstance(node.op, Pointwise) else (COMPARISON,) * len(node.inputs)
        )
        return [self._display(x, user, b) for x, b in zip(node.inputs, needs, strict=True)]

    def _display(self, x: Node | float, user: Node, binding: int) -> str:
        if not isinstance(x, Node):
            return f"{x:.4g}"
        if x in self._plan.blocks:
            return self._seen_from(x, self._plan.blocks[user].slot.scope)
        if x.kind == "rate":
            in_optimizer = self._plan.blocks[user].slot.scope.name == OPTIMIZER
            return "base rate" if in_optimizer else "rate"
        if x.op is None:
            return f"{x.value.reshape(-1)[0]:.4g}" if x.value.size else ""
        text = x.op.words(*self._operands(x, user))
        return f"({text})" if x.op.binding < binding else text

    def _seen_from(self, node: Node, scope: Scope) -> str:
        """A block's title, with its layer's name in another layer's strip."""
        label, home = self.short(node), self._plan.blocks[node].slot.scope
        if home is scope or home.name in ("", INPUTS, FUNCTION, LOSS):
            return label
        if label.startswith(GRADIENT):
            return f"{GRADIENT}{home.name} {label[len(GRADIENT) :]}"
        return f"{home.name} {label}"


def _typeset(formula: str) -> str:
    """A formula as a person writes it: signs for minus and times, with room around them."""
    for sign, typeset in ((">=", " ≥ "), ("<=", " ≤ "), ("*", " × "), ("+", " + "), (",", ", ")):
        formula = formula.replace(sign, typeset)
    formula = re.sub(r"(?<=[\w)])(?<!\de)-(?=[\w(])", " − ", formula)
    return re.sub(r" {2,}", " ", formula.replace("LN(", "ln(").replace("EXP(", "exp(")).replace(
        "( ", "("
    )


def shorten(text: str, most: int = LONGEST_WORDS) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
