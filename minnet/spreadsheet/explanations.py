"""What each kind of block is, in a sentence for someone who meets it for the first time."""

from __future__ import annotations

from minnet.spreadsheet.blocks import FILTERS, IMAGES, NORMAL, TRANSPOSED, Block
from minnet.spreadsheet.labels import Labels
from minnet.spreadsheet.trace import BACKWARD, UPDATE, Node

_LEAVES = {
    "input": "What goes in, a row for each example. Type another number and watch the rest follow.",
    "target": "What the network should have answered for each row.",
    "state": "What the optimizer remembers from the steps before.",
    "mask": "Dropout's dice: 1 keeps a number, 0 drops it. You may throw them yourself.",
    "constant": "Numbers that stay as they are.",
    "seed": "The end result changes with itself one to one. From this 1 the chain rule works its "
    "way back: set it to 2 and all gradients double.",
    "scale": "How far the random weights spread: wide for few inputs, narrow for many, so that "
    "sums neither explode nor vanish.",
}
_WEIGHTS = {
    TRANSPOSED: "What the layer has learned, a row for each neuron: how much it makes of each of "
    "its inputs. Training changes these numbers, and so may you.",
    FILTERS: "What the layer looks for: each row of tiles is a filter that slides over the images, "
    "one tile for each of their channels.",
    NORMAL: "What the layer has learned, number by number. Training changes these, and so may you.",
}
_TABLE = "A table that is looked up: row i holds the numbers that stand for index i."
_KEPT = "Numbers that the layer gathers while it trains; no gradient changes them."
_BIAS = "What each neuron adds to its sum: with all inputs 0, this is its answer."
_RESULTS = {
    "linear": "Each number is a sum: a row of the input times a row of weights, number by number, "
    "plus the bias.",
    "matmul": "Each number is a sum: a row of the one times a row of the other, number by number.",
    "correlate": "Each number is a window of the images times the filter, number by number, summed "
    "over all channels. The window slides on by one place for the next number.",
    "relu": "Negative numbers become 0, positive ones stay: without such a bend, layers in a row "
    "would be no more than one.",
    "sigmoid": "Any number becomes one between 0 and 1, which can be read as a probability.",
    "tanh": "Any number becomes one between -1 and 1.",
    "softmax": "Scores become probabilities: positive, and 1 together in each row.",
    "max_pool2d": "The largest number of each window: what was found, but not exactly where.",
    "average_pool2d": "The mean of each window.",
    "take_rows": "The rows of the table that the indices ask for.",
    "drop": "Some numbers are dropped, the others enlarged to make up for it.",
    "normalize": "Each column moved and stretched to mean 0 and variance 1.",
    "variance": "How far the numbers spread around their mean: the mean of the squared distances.",
    "reshape": "The same numbers in another order of rows and columns.",
    "concatenate": "Blocks put side by side.",
    "one_hot": "The right class as a row of zeros with a single 1.",
    "pad2d": "The images with a frame of zeros, so that windows fit at the edges too.",
    "mean": "The mean of the numbers it names.",
    "sum": "The sum of the numbers it names.",
}
_LOSS = "How wrong the answers are, as one number: training makes it smaller."
_GRADIENT = (
    "How the end result, the loss, reacts to the block of this name in the forward pass: if a "
    "number there grows by 0.01, the loss grows by about 0.01 times the number here."
)
_NEW = "The value after this step: moved against the gradient, so that the loss becomes smaller."
_MEMORY = "What the optimizer will remember at the next step."
_TURNED = "The same numbers laid out anew, so that formulas can read them in one line."
_ON_THE_WAY = "A step on the way to the block whose name it has."


def explain(labels: Labels, block: Block) -> str:
    """A sentence or two about a block, its formula if that was cut, and its shape in words."""
    lines = sentence(labels, block), labels.whole_words(block.node), shape_in_words(block)
    return "\n".join(filter(None, lines))


def sentence(labels: Labels, block: Block) -> str:
    """What a block is, without its shape."""
    node = block.node
    if node.kind == "parameter":
        return _parameter(labels, block)
    if node.op is None and not labels.is_helper(node):
        return _LEAVES.get(node.kind, _LEAVES["constant"])
    if labels.is_helper(node):
        return _TURNED
    if block.band == BACKWARD:
        return _GRADIENT if block.slot.gradient is node else _ON_THE_WAY
    if block.band == UPDATE:
        if node.name is None:
            return _ON_THE_WAY
        return _NEW if node.name == f"new {block.slot.name}" else _MEMORY
    return _result(labels, node)


def _parameter(labels: Labels, block: Block) -> str:
    node = block.node
    if not any(tensor.requires_grad for tensor in node.tensors):
        return _KEPT
    if str(node.name).endswith("bias"):
        return _BIAS
    if labels.is_looked_up(node):
        return _TABLE
    return _WEIGHTS.get(block.lies, _WEIGHTS[NORMAL])


def _result(labels: Labels, node: Node) -> str:
    if node.name == "loss":
        return _LOSS
    known = _RESULTS.get(str(node.name)) or (node.op and _RESULTS.get(node.op.name))
    return known or f"Each number {labels.words(node)}."


def shape_in_words(block: Block) -> str:
    """How many numbers there are and how they lie: "2 images of 28 × 28 × 3 = 4,704 numbers"."""
    shape, count = block.node.shape, block.node.value.size
    numbers = f"{count:,} number{'s' * (count != 1)}"
    if len(shape) < 2:
        return numbers
    if block.lies == IMAGES:
        text = f"{_many(shape[0], 'image')} of {_times(shape[1:])}"
    elif block.lies == FILTERS:
        text = f"{_many(shape[3], 'filter')} of {_times(shape[:3])}"
    elif block.lies == TRANSPOSED and block.slot.kind == "parameter":
        text = f"{_many(shape[1], 'neuron')} × {_many(shape[0], 'input')}"
    else:
        text = _times(_as_it_lies(block))
    return f"{text} = {numbers}"


def short_shape(block: Block) -> str:
    """The same in a few characters: "4×3" as it lies, "2 of 28×28×3"."""
    shape = block.node.shape
    if block.lies == IMAGES:
        count, shape = shape[0], shape[1:]
    elif block.lies == FILTERS:
        count, shape = shape[3], shape[:3]
    else:
        return "×".join(map(str, _as_it_lies(block)))
    return f"{count} of {'×'.join(map(str, shape))}"


def _as_it_lies(block: Block) -> tuple[int, ...]:
    """A tensor's shape; of a transposed matrix the rows of the sheet come first."""
    shape = block.node.shape
    return (*shape[:-2], shape[-1], shape[-2]) if block.lies == TRANSPOSED else shape


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{n:,}" for n in shape)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
