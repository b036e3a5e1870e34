"""What the commands share about printing."""

from __future__ import annotations

import sys

#: The exit code where something cannot be done.
FAILED = 2


def plain(text: str) -> str:
    """A text from a file on one line: line breaks and control characters are escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def complain(problem: object) -> None:
    """Say on stderr, in one line, what is wrong."""
    print(f"minnet: {plain(' '.join(str(problem).split()))}", file=sys.stderr)
