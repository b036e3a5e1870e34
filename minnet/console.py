"""What the commands share about printing."""

from __future__ import annotations


def plain(text: str) -> str:
    """A text from a file on one line: line breaks and control characters are escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
