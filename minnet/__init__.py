"""minnet: a neural network you can open in a spreadsheet.

A small engine in NumPy (tensors that record, layers, training with Keras's verbs) whose every
forward pass, backward pass and update can be written to a workbook of live formulas.
"""

from typing import TYPE_CHECKING, Any

from minnet import callbacks, data, initializers, ops, regularizers, schedules
from minnet.autodiff import grad
from minnet.callbacks import Callback, History
from minnet.errors import MinnetError
from minnet.folding import fold_batch_normalization
from minnet.functional import Functional as Model
from minnet.layers import (
    Activation,
    Add,
    AveragePooling2D,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    Dot,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    ImagePreprocessing,
    Input,
    Lambda,
    Layer,
    LayerNormalization,
    MaxPooling2D,
    Reshape,
    ZeroPadding2D,
)
from minnet.loading import load_model
from minnet.lr_finder import RateSearch
from minnet.metrics import accuracy
from minnet.optimizers import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    EpochAdagrad,
    Eve,
    Optimizer,
    RMSprop,
)
from minnet.random import seed
from minnet.recording import no_grad, training_mode
from minnet.sequential import Sequential
from minnet.tensor import Tensor

if TYPE_CHECKING:
    from minnet.spreadsheet import export_xlsx, read_xlsx, verify_xlsx

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Activation",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Add",
    "AveragePooling2D",
    "BatchNormalization",
    "Callback",
    "Concatenate",
    "Conv2D",
    "Dense",
    "Dot",
    "Dropout",
    "Embedding",
    "EpochAdagrad",
    "Eve",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "History",
    "ImagePreprocessing",
    "Input",
    "Lambda",
    "Layer",
    "LayerNormalization",
    "MaxPooling2D",
    "MinnetError",
    "Model",
    "Optimizer",
    "RMSprop",
    "RateSearch",
    "Reshape",
    "Sequential",
    "Tensor",
    "ZeroPadding2D",
    "accuracy",
    "callbacks",
    "data",
    "export_xlsx",
    "fold_batch_normalization",
    "grad",
    "initializers",
    "load",
    "load_model",
    "no_grad",
    "ops",
    "read_xlsx",
    "regularizers",
    "schedules",
    "seed",
    "training_mode",
    "verify_xlsx",
]

load = load_model

_WORKBOOK = ("export_xlsx", "read_xlsx", "verify_xlsx")


def __getattr__(name: str) -> Any:
    """Workbooks are imported when first used: openpyxl takes longer to load than all the rest."""
    if name in _WORKBOOK:
        from minnet import spreadsheet

        return getattr(spreadsheet, name)
    raise AttributeError(f"module 'minnet' has no attribute {name!r}")
