"""What ``fit`` calls on its way: see :class:`Callback`."""

from minnet.callbacks.backup import BackupAndRestore
from minnet.callbacks.base import Callback, CallbackList
from minnet.callbacks.checkpoint import ModelCheckpoint
from minnet.callbacks.excel import ExcelLogger
from minnet.callbacks.history import History
from minnet.callbacks.loggers import CSVLogger, LambdaCallback, TensorBoard
from minnet.callbacks.progress_bar import ProgressBar
from minnet.callbacks.rates import LearningRateScheduler, ReduceLROnPlateau
from minnet.callbacks.stopping import EarlyStopping

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "ExcelLogger",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgressBar",
    "ReduceLROnPlateau",
    "TensorBoard",
]
