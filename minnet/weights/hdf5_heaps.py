"""HDF5's global heaps, looked at before its library reads them.

Texts of varying length lie in heaps. One whose objects claim sizes that nobody wrote keeps the
library, which adds them up without looking, in a loop for ever; nothing in Python can end that.
The format: "HDF5 File Format Specification Version 3.0", section III.E.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

#: With the version. Among weights it is not met by chance: read as a float32 from any byte on, it
#: would be part of a number above 100.
SIGNATURE = b"GCOL\x01"
#: Of a heap: what comes first, and its size. Of an object: index, two fields of no matter, size.
_HEAP, _OBJECT = struct.Struct("<8xQ"), struct.Struct("<HHIQ")
_BLOCK = 1 << 24


def require_sound_heaps(content: IO[bytes]) -> None:
    """Raise :class:`ValueError` for a file with a heap whose objects do not fit into it."""
    for place in list(_heaps(content)):
        content.seek(place)
        head = content.read(_HEAP.size)
        if len(head) == _HEAP.size and not _is_sound(content, _HEAP.unpack(head)[0]):
            raise ValueError(f"a heap of texts, at byte {place:,}, whose sizes cannot be")


def _heaps(content: IO[bytes]) -> Iterator[int]:
    """Where a heap begins, and perhaps a number that looks as if one did."""
    kept, before = b"", 0  # the end of the block before, and the bytes in front of it
    content.seek(0)
    while block := content.read(_BLOCK):
        text, at = kept + block, -1
        while (at := text.find(SIGNATURE, at + 1)) >= 0:
            yield before + at
        kept = text[1 - len(SIGNATURE) :]
        before += len(text) - len(kept)


def _is_sound(content: IO[bytes], size: int) -> bool:
    """Whether the objects of a heap of so many bytes, its head behind us, lie one after another."""
    left = size - _HEAP.size
    while left >= _OBJECT.size:
        head = content.read(_OBJECT.size)
        if len(head) < _OBJECT.size:
            return False
        index, _, _, length = _OBJECT.unpack(head)
        if not index:  # what is free, its own head with it, up to the end
            return bool(_OBJECT.size <= length <= left)
        taken = _OBJECT.size + -(-length // 8) * 8
        if taken > left:
            return False
        content.seek(taken - _OBJECT.size, 1)
        left -= taken
    return bool(left >= 0)
