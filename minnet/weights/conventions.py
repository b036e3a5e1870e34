"""What a file of converted weights does not say: how its numbers lie and what its net expects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_type_hints

from minnet.errors import FileError, mismatch, unknown_name


@dataclass(frozen=True)
class Convention:
    """How kernels lie in a file, and what surrounds them in the net that they come from.

    ``kernels``: the axes of a convolution's. ``turned``: by 180°, as Theano needs them. ``dense``:
    the axes of a dense one's. ``flatten``: the order in which the first dense layer sees the last
    feature maps. ``preprocessing``: as Keras calls it: 'caffe', BGR with the means
    (103.939, 116.779, 123.68) subtracted; 'torch', RGB from 0 to 1, standardized with ImageNet's
    means and deviations; None where nobody knows. ``output``: what the last layer gives.
    """

    kernels: Literal["HWIO", "OIHW"]
    dense: Literal["(in, out)", "(out, in)"]
    flatten: Literal["HWC", "CHW"]
    turned: bool = False
    preprocessing: Literal["caffe", "torch"] | None = None
    output: Literal["probabilities", "logits"] = "probabilities"

    @property
    def channels(self) -> str | None:
        """In which order the images' colours come: 'RGB', 'BGR', or None where nobody knows."""
        return {"caffe": "BGR", "torch": "RGB", None: None}[self.preprocessing]

    def __str__(self) -> str:
        turned = ", turned by 180°" if self.turned else ""
        images = f"{self.channels} ({self.preprocessing})" if self.preprocessing else "not known"
        return (
            f"convolutions {self.kernels}{turned}; dense {self.dense}; flattened {self.flatten}; "
            f"images {images}; gives {self.output}"
        )


#: By the name of the library whose files are like that.
CONVENTIONS = {
    "keras": Convention("HWIO", "(in, out)", "HWC", False, "caffe", "probabilities"),
    "theano": Convention("OIHW", "(in, out)", "CHW", True, "caffe", "probabilities"),
    "torchvision": Convention("OIHW", "(out, in)", "CHW", False, "torch", "logits"),
}


def get(convention: str | Convention) -> Convention:
    """A convention by its name.

    Raises :class:`~minnet.errors.ArgumentError` for an unknown one.
    """
    if isinstance(convention, Convention):
        return convention
    if convention not in CONVENTIONS:
        raise unknown_name("convention", convention, CONVENTIONS)
    return CONVENTIONS[convention]


def ours(convention: Convention) -> Convention:
    """That of the same net once its arrays lie as ours do."""
    return replace(convention, kernels="HWIO", dense="(in, out)", flatten="HWC", turned=False)


def from_settings(file: str, settings: Mapping[str, Any]) -> Convention:
    """The convention that a file states.

    Raises :class:`~minnet.errors.FileError` for one that nobody wrote.
    """
    try:
        found = Convention(**settings)
        for name, kind in get_type_hints(Convention).items():
            if getattr(found, name) not in _allowed(kind):
                raise ValueError(f"{name} {getattr(found, name)!r:.40}")
        return found
    except (TypeError, ValueError) as error:
        expected = "a convention in the metadata"
        raise FileError(mismatch(file, expected, f"another: {error}")) from None


def _allowed(kind: Any) -> list[Any]:
    if kind is bool:
        return [True, False]
    allowed = [value for part in get_args(kind) for value in (get_args(part) or (part,))]
    return [None if value is type(None) else value for value in allowed]
