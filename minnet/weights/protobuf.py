"""Protocol Buffers in a file: numbers, and where texts, lists and messages within it lie.

The package protobuf makes objects of a whole message, which of a net holds its weights twice. Here
only what is asked for is read, so that the arrays stay in the file until their turn comes.

Format: protobuf.dev/programming-guides/encoding. A field is a key, its number · 8 + kind, and a
value: kind 0, a number in groups of 7 bits; 1 and 5, eight and four bytes; 2, a length and bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import IO, NamedTuple

#: Fields of one file; VGG16's have about a thousand, and each takes memory.
MOST_FIELDS = 1_000_000
#: Bytes of a text, and of a list of numbers that is no array.
LONGEST = 1 << 16


class Span(NamedTuple):
    """Where bytes lie in the file."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


Fields = dict[int, list["int | Span"]]


@dataclass
class Messages:
    """The messages of an open file.

    All methods raise :class:`ValueError` for what is none.
    """

    content: IO[bytes]
    _seen: int = field(default=0, init=False)

    def fields(self, span: int | Span) -> Fields:
        """The values of a message, by their fields' numbers, in order."""
        position, stop = _span(span)
        found: Fields = {}
        while position < stop:
            key, position = self._number(position, stop)
            value: int | Span
            if key & 7 == 0:
                value, position = self._number(position, stop)
            else:
                size, position = self._size(key & 7, position, stop)
                value = Span(position, position + size)
                position = value.stop
            if position > stop:
                raise ValueError("a value that goes on after its message")
            found.setdefault(key >> 3, []).append(value)
            self._seen += 1
            if self._seen > MOST_FIELDS:
                raise ValueError(f"more than {MOST_FIELDS:,} fields")
        return found

    def bytes(self, span: int | Span) -> bytes:
        """The bytes there, of which there must not be many."""
        start, stop = _span(span)
        if stop - start > LONGEST:
            raise ValueError(f"a text or list of {stop - start:,} bytes")
        self.content.seek(start)
        return self.content.read(stop - start)

    def text(self, span: int | Span) -> str:
        """The text there."""
        return self.bytes(span).decode()

    def numbers(self, values: list[int | Span]) -> list[int]:
        """Whole numbers with their signs, given one by one or as lists of them."""
        found: list[int] = []
        for value in values:
            if isinstance(value, int):
                found.append(value)
                continue
            position = value.start
            if value.size > LONGEST:
                raise ValueError(f"a list of {value.size:,} bytes")
            while position < value.stop:
                number, position = self._number(position, value.stop)
                found.append(number)
        return [n - (1 << 64) if n >> 63 else n for n in found]

    def _size(self, kind: int, position: int, stop: int) -> tuple[int, int]:
        if kind == 2:
            return self._number(position, stop)
        if kind not in (1, 5):
            raise ValueError(f"a value of kind {kind}")
        return (8 if kind == 1 else 4), position

    def _number(self, position: int, stop: int) -> tuple[int, int]:
        """A number, and where it ends."""
        self.content.seek(position)
        number = 0
        for place, byte in enumerate(self.content.read(min(10, stop - position))):
            number |= (byte & 127) << 7 * place
            if byte < 128:
                return number & (1 << 64) - 1, position + place + 1
        raise ValueError("a number without an end")


def _span(value: int | Span) -> Span:
    if not isinstance(value, Span):
        raise ValueError("a number in the place of bytes")
    return value
