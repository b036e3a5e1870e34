"""Photographs from files and folders, at the size that a model takes."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minnet.checks import whole
from minnet.data.batches import Batches, Transform
from minnet.data.preparation import to_categorical
from minnet.errors import ArgumentError, FileError, MinnetError, mismatch, unknown_name
from minnet.files import PathLike, require_file
from minnet.tensor import Array

if TYPE_CHECKING:
    from PIL.Image import Image

#: By the endings of their names, in lower case.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")
#: What is decoded, whatever the name; not EPS and the like, for which Pillow runs programs.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
RESIZES = ("stretch", "crop")
#: 'crop' shrinks the shorter side to so many pixels for 224: torchvision's 256.
BEFORE_CROP, AFTER_CROP = 256, 224
#: What Pillow raises about files that are damaged or no images.
_DAMAGE = (
    OSError, ValueError, TypeError, SyntaxError, EOFError, KeyError, IndexError, OverflowError,
    struct.error, MemoryError,
)  # fmt: skip

_ADVICE = "Replace the file, or leave it out."

Size = tuple[int, int]


class Reading(NamedTuple):
    """How images are read: what a file's pixels depend on beside the file."""

    size: Size | None
    resize: str

    @classmethod
    def of(cls, size: Any, resize: str) -> Reading:
        """Checked settings.

        Raises :class:`~minnet.errors.ArgumentError` for others than :func:`load_image` takes.
        """
        if resize not in RESIZES:
            raise unknown_name("resize", resize, RESIZES)
        if size is None:
            return cls(None, resize)
        pair = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
        if len(pair) != 2:
            expected = "a size as one number or (height, width)"
            raise ArgumentError(mismatch("images", expected, repr(size)))
        height, width = (whole("image size", n, 1) for n in pair)
        return cls((height, width), resize)

    def read(self, path: PathLike) -> Array:
        """See :func:`load_image`."""
        return decoded(path, lambda image: self._resized(as_rgb(image)))

    def _resized(self, image: Image) -> Image:
        from PIL import Image as library

        if self.size is None:
            return image
        bilinear, (height, width) = library.Resampling.BILINEAR, self.size
        if self.resize == "stretch":
            return image.resize((width, height), bilinear)
        # As torchvision: the shorter side to 256 (for 224), rounded down; then the middle.
        high, wide = (n * BEFORE_CROP // AFTER_CROP for n in self.size)
        scale = max(high / image.height, wide / image.width)
        # Rounding must not make an exact multiple smaller.
        inner = [int(n * scale + 1e-9) for n in (image.width, image.height)]
        image = image.resize((inner[0], inner[1]), bilinear)
        left, top = round((inner[0] - width) / 2), round((inner[1] - height) / 2)
        return image.crop((left, top, left + width, top + height))


def decoded(path: PathLike, convert: Callable[[Image], Image]) -> Array:
    """The pixels of what ``convert`` makes of an image file, upright.

    Raises :class:`~minnet.errors.FileError`, naming the file, where that cannot be done.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    file = require_file(path, "an image")
    Image.init()  # once: all formats, of which FORMATS are used
    try:
        with Image.open(file, formats=FORMATS) as image:
            image.load()
            if image.mode == "F" or (image.mode, image.format) == ("I", "TIFF"):
                expected, received = "pixels of 8 or 16 bits", "numbers of which none is white"
                raise FileError(mismatch(str(file), expected, received, "Save it as PNG."))
            return np.array(convert(_of_bytes(ImageOps.exif_transpose(image))))
    except Image.DecompressionBombError as error:
        received, advice = str(error).rstrip("."), "Make it smaller, or leave it out."
        raise FileError(
            mismatch(str(file), "an image of moderate size", received, advice)
        ) from None
    except UnidentifiedImageError:
        expected = f"an image ({', '.join(FORMATS)})"
        raise FileError(mismatch(str(file), expected, "something else", _ADVICE)) from None
    except MinnetError:
        raise
    except _DAMAGE as error:
        received = f"a damaged one: {str(error) or type(error).__name__}"
        raise FileError(mismatch(str(file), "a whole image", received, _ADVICE)) from None


def _of_bytes(image: Image) -> Image:
    """Of 16 bits, 'I;16' or 'I' to Pillow, the upper 8; it would cut off all that is above 255."""
    from PIL import Image as library

    if not image.mode.startswith("I"):
        return image
    return library.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def as_rgb(image: Image) -> Image:
    from PIL import Image as library

    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        with_alpha = image.convert("RGBA")
        white = library.new("RGBA", image.size, "white")
        return library.alpha_composite(white, with_alpha).convert("RGB")
    return image.convert("RGB")


def load_image(path: PathLike, size: Any = (224, 224), resize: str = "stretch") -> Array:
    """The pixels of an image file, uint8 (height, width, 3), red first, as seen in a viewer.

    A camera's note about which side is up (EXIF) is followed; grey becomes RGB; what is transparent
    lies on white. ``size``: (height, width), one number for both, or None to leave it. ``resize``:
    'stretch' to the size whatever the proportions, as Keras does; 'crop' shrinks the shorter side
    to 256 pixels (for 224) and takes the middle, as torchvision does. Both bilinear.

    Raises :class:`~minnet.errors.FileError`, naming the file, where it cannot be read, is no image,
    or is damaged; :class:`~minnet.errors.ArgumentError` for another size or resize.
    """
    return Reading.of(size, resize).read(path)


class ImageFolder(Batches):
    """Batches of a folder's images: x uint8 (n, height, width, 3), y one-hot (n, classes).

    >>> batches = ImageFolder("dogscats/train", batch_size=64, seed=0)
    >>> batches.classes
    ['cats', 'dogs']

    Each directory in ``directory`` is a class, in alphabetical order unless ``classes`` names them;
    its images are those of its subdirectories too. Images are read when their batch is due, by
    ``threads`` ahead of the model; ``size`` and ``resize`` as for :func:`load_image`. With
    ``labelled=False`` batches are x alone, without y. ``shuffle``, ``seed`` and ``transform`` as
    for :class:`minnet.data.Batches`.

    ``files``: paths relative to ``directory``, with '/', in order. ``labels``: their classes'
    numbers. Files that are not images by name are left out, with a warning; hidden ones without.

    Raises :class:`~minnet.errors.FileError` where there is no such directory, class or any image,
    and when a batch is made for an image that is damaged.
    """

    def __init__(
        self,
        directory: PathLike,
        batch_size: int = 32,
        *,
        size: Any = (224, 224),
        resize: str = "stretch",
        classes: Sequence[str] | None = None,
        labelled: bool = True,
        shuffle: bool = True,
        seed: int | None = None,
        transform: Transform | None = None,
        threads: int = 1,
    ):
        self.directory = Path(directory)
        self.reading = Reading.of(size, resize)
        self.classes = _classes(self.directory, classes)
        found = [_files(self.directory, name) for name in self.classes]
        per_class = [[f for f in files if f.lower().endswith(IMAGE_SUFFIXES)] for files in found]
        self.files = [file for files in per_class for file in files]
        others = sorted({file for files in found for file in files} - set(self.files))
        if others:
            shown = ", ".join(others[:5]) + (f", … ({len(others)})" if len(others) > 5 else "")
            text = f"{self.directory}: left out, as by name they are no images: {shown}"
            warnings.warn(text, stacklevel=2)
        if not self.files:
            expected = "directories with images, one for each class"
            received = f"no image in {', '.join(self.classes) or 'any directory'}"
            raise FileError(mismatch(str(self.directory), expected, received))
        self.labels = np.repeat(np.arange(len(per_class)), [len(files) for files in per_class])
        y = to_categorical(self.labels, len(self.classes)) if labelled else None
        super().__init__(
            np.array(self.files),
            y,
            batch_size,
            shuffle=shuffle,
            seed=seed,
            transform=transform,
            threads=threads,
        )

    def load(self, x: Array) -> Array:
        if self.reading.size is None and len(x) > 1:
            advice = "Give a size, or batch_size=1."
            raise ArgumentError(mismatch("ImageFolder", "a size", "size=None", advice))
        return np.stack([self.reading.read(self.directory / str(file)) for file in x])

    def unreadable(self, rows: Array) -> dict[int, str]:
        paths = [self.directory / self.files[k] for k in rows]
        with ThreadPoolExecutor(thread_name_prefix="minnet-images") as pool:
            found = zip(rows, paths, pool.map(self._is_fine, paths), strict=True)
            return {int(k): str(path) for k, path, fine in found if not fine}

    def _is_fine(self, path: Path) -> bool:
        try:
            self.reading.read(path)
        except FileError:
            return False
        return True

    def fingerprint(self) -> Iterator[bytes]:
        """How images are read, then each file's content: what it is called changes nothing."""
        yield repr(self.reading).encode()
        for file in self.files:
            yield require_file(self.directory / file, "an image").read_bytes()


def _classes(directory: Path, wanted: Sequence[str] | None) -> list[str]:
    try:
        found = sorted(e.name for e in os.scandir(directory) if e.is_dir() and e.name[0] != ".")
    except OSError as error:
        expected = "a directory with one directory of images for each class"
        received = error.strerror or str(error)
        raise FileError(mismatch(str(directory), expected, received)) from None
    if wanted is None:
        return found
    absent = [name for name in wanted if name not in found]
    if absent:
        expected = f"directories {', '.join(wanted)}"
        raise FileError(mismatch(str(directory), expected, f"none called {', '.join(absent)}"))
    return list(wanted)


def _files(directory: Path, name: str) -> list[str]:
    """The files of a class that are not hidden, relative to ``directory``, in order."""
    paths = (path for path in (directory / name).rglob("*") if path.is_file())
    inside = (path.relative_to(directory) for path in paths)
    return sorted(p.as_posix() for p in inside if not any(part[0] == "." for part in p.parts))
