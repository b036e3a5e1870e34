"""The formula of every cell of a plan whose blocks have been given their places."""

from __future__ import annotations

from collections.abc import Mapping

from minnet.errors import WorkbookError
from minnet.ops.base import CellWriter, Operation, View, positions
from minnet.ops.conv import Correlate
from minnet.spreadsheet.blocks import FILTERS, STACKED_FILTERS, Block
from minnet.spreadsheet.operands import Cells, Inline, Joined, Scalar
from minnet.spreadsheet.plan import Plan, is_scalar_leaf
from minnet.spreadsheet.trace import UPDATE, Node

AnyOperand = Cells | Inline | Joined | Scalar


class Formulas:
    """Writes formulas; ``links`` give leaves that are read from another sheet their references."""

    def __init__(self, plan: Plan, rate_name: str, links: Mapping[Node, CellWriter] | None = None):
        self._plan = plan
        self._rate = Scalar(rate_name)
        self._links = links or {}
        self._operands: dict[Node, AnyOperand] = {}

    def writer(self, block: Block) -> CellWriter | None:
        """Writes an element's formula, without ``=``, by its position; None for plain numbers."""
        node = block.node
        if node in self._links:
            return self._links[node]
        if node.op is None:
            return None
        return self._writer(node, node.op)

    def cells_of(self, block: Block, sheet: str = "") -> Cells:
        """The block's own cells in its tensor's shape, as another formula refers to them."""
        node = block.node
        shared = node.kind in ("parameter", "scale", "seed")
        shared = shared or block.lies in (FILTERS, STACKED_FILTERS)
        shared = shared or (block.band == UPDATE and node.value.ndim == 0)
        fixed = shared or node in self._plan.helpers.values()
        return Cells(block.local_addresses() + block.origin, sheet, fixed)

    def _writer(self, node: Node, op: Operation) -> CellWriter:
        operands = [self._operand(x, node, i) for i, x in enumerate(node.inputs)]
        if isinstance(op, View):
            return self._seen_through(node, op, operands).cell
        if self._plan.stacked and isinstance(op, Correlate):
            return op.stacked_cells(node.shape, *operands)
        try:
            return op.cells(node.shape, *operands)
        except NotImplementedError as error:
            raise WorkbookError(
                f"Operation {op.name!r} in {node.scope.name or 'the function'} has no spreadsheet "
                f"formula, so it cannot be exported. Implement {error}, or write it in operations "
                "that have one."
            ) from None

    def _operand(self, x: Node | float, user: Node, index: int) -> AnyOperand:
        if not isinstance(x, Node):
            return Scalar.number(x)
        node = self._plan.helpers.get((user, index), x)
        if node not in self._operands:
            self._operands[node] = self._make(node)
        return self._operands[node]

    def _make(self, node: Node) -> AnyOperand:
        if is_scalar_leaf(node):
            return self._rate if node.kind == "rate" else Scalar.number(float(node.value))
        if node in self._plan.blocks:
            return self.cells_of(self._plan.blocks[node])
        place = self._plan.place(node)
        if place is not None:
            block, addresses = place
            whole = self.cells_of(block)
            return whole.rearranged(addresses + block.origin)
        assert node.op is not None  # leaves have blocks or are scalars
        if isinstance(node.op, View):
            operands = [self._operand(x, node, i) for i, x in enumerate(node.inputs)]
            return self._seen_through(node, node.op, operands)
        write = self._writer(node, node.op)
        return Inline(write, node.shape, node.op.binding, positions(node.shape))

    @staticmethod
    def _seen_through(node: Node, op: View, operands: list[AnyOperand]) -> Joined:
        operands = [o.broadcast(o.shape) for o in operands]
        return Joined(operands, op.sources(*(o.shape for o in operands)).reshape(node.shape))
