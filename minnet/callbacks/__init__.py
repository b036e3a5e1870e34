"""What ``fit`` calls on its way: see :class:`Callback`."""

from minnet.callbacks.backup import BackupAndRestore
from minnet.callbacks.base import Callback, CallbackList
from minnet.callbacks.history import History
from minnet.callbacks.progress_bar import ProgressBar

__all__ = ["BackupAndRestore", "Callback", "CallbackList", "History", "ProgressBar"]
