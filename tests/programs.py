"""What tests of :mod:`minnet.program` share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minnet.program import Program
from minnet.tensor import Array


def programs_of(written: Any) -> list[Program]:
    """The programs of a model's steps, or of its predictions, that can be done again."""
    programs = [replay._program for replay in written._kinds.values() if replay is not None]
    return [program for program in programs if program is not None and program.refusal is None]


def written_to(program: Program) -> Iterator[Array]:
    """The arrays of float32 that calculations write to, results and copies alike."""
    for function, arguments in program._calls:
        # A kernel locks what it only reads; what is worked out has its results' arrays last.
        yield from _writable(arguments[:1] if function is np.copyto else arguments[2:])


def _writable(part: Any) -> Iterator[Array]:
    if isinstance(part, tuple):
        for piece in part:
            yield from _writable(piece)
    elif isinstance(part, np.ndarray) and part.flags.writeable and part.dtype == np.float32:
        yield part
