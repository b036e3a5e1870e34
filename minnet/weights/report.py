"""What became of each array when weights were loaded."""

from __future__ import annotations

from dataclasses import dataclass, field

Shape = tuple[int, ...]


@dataclass
class LoadReport:
    """What ``load_weights`` did, in the model's names ('dense_1/weight') where it has one.

    ``matched``: loaded. ``missing``: in the model alone. ``unexpected``: in the file alone.
    ``mismatched``: (name, the model's shape, the file's). ``converted``: (name, the file's dtype)
    of those loaded arrays whose dtype was another. Printing it gives one line for each.
    """

    path: str
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, Shape, Shape]] = field(default_factory=list)
    converted: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether the model and the file have the same arrays."""
        return not (self.missing or self.unexpected or self.mismatched)

    def differences(self) -> list[tuple[str, list[str]]]:
        """What does not agree: in words, and what it is true of."""
        shapes = [f"{name} {ours}, in the file {theirs}" for name, ours, theirs in self.mismatched]
        kinds = [
            ("missing from the file", self.missing),
            ("unexpected in the file", self.unexpected),
            ("of another shape", shapes),
        ]
        return [(words, names) for words, names in kinds if names]

    def __str__(self) -> str:
        total = len(self.matched) + len(self.missing) + len(self.mismatched)
        lines = [f"{self.path}: {len(self.matched)} of {total} arrays loaded"]
        converted = [f"{name} from {dtype}" for name, dtype in self.converted]
        for words, names in [*self.differences(), ("converted", converted)]:
            if names:
                lines.append(f"  {words}:")
                lines += [f"    {name}" for name in names]
        return "\n".join(lines)
