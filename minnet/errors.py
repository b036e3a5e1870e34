"""What minnet raises when something it was given cannot be right.

Every message is one paragraph that names the layer, operation or file, says what was expected and
what was received, and ends with what to do. Each kind also derives from the built-in exception a
caller would guess (``ValueError`` or ``TypeError``), so plain ``except ValueError`` keeps working.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class MinnetError(Exception):
    """The parent of every error that minnet raises on purpose."""


class ShapeError(MinnetError, ValueError):
    """Arrays whose shapes do not fit together, or do not fit the layer."""


class DtypeError(MinnetError, TypeError):
    """A dtype that would have to be changed silently, or that cannot be computed with."""


class ArgumentError(MinnetError, ValueError):
    """An argument out of its range, an unknown name, a call at the wrong time."""


class GraphError(MinnetError, RuntimeError):
    """A gradient asked of a tensor that cannot give one, or an edit of a recorded array."""


class NumberError(MinnetError, ValueError):
    """NaN or infinity where a number is needed."""


class WorkbookError(MinnetError, ValueError):
    """A workbook that cannot be written, or a file that is not a workbook of ours."""


class FileError(MinnetError, ValueError):
    """A file that cannot be written or read, or does not hold what it should.

    ``report``: where weights do not fit, what does and what does not
    (:class:`~minnet.weights.LoadReport`).
    """

    report: Any = None


class MissingDependencyError(MinnetError, ImportError):
    """An optional package is needed for this and is not installed."""


def mismatch(where: str, expected: str, received: str, advice: str = "") -> str:
    """The wording shared by all messages: ``where: expected …, received …. advice``."""
    text = f"{where}: expected {expected}, received {received}."
    return f"{text} {advice}" if advice else text


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ArgumentError:
    """The error for a misspelt loss, activation, …: suggests the nearest name and lists all."""
    names = sorted(known)
    close = difflib.get_close_matches(str(name).lower(), names, n=1)
    suggestion = f"Did you mean {close[0]!r}? " if close else ""
    return ArgumentError(
        mismatch(f"unknown {kind}", f"one of {', '.join(names)}", repr(name), suggestion).rstrip()
    )


def missing(package: str, extra: str, purpose: str) -> MissingDependencyError:
    """The error for an optional package: says what it is for and how to install it."""
    return MissingDependencyError(
        f"{purpose} needs the package {package!r}, which is not installed. "
        f'Install it with: pip install "minnet[{extra}]"'
    )
