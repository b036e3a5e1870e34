"""VGG16 in seven lines: the lesson's class, written anew for this engine.

Its methods are those of ``Vgg16`` in fast.ai's course "Practical deep learning for coders", 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minnet import saving
from minnet.callbacks import History
from minnet.checks import whole
from minnet.data import ImageFolder
from minnet.data.images import Reading, Size
from minnet.errors import ArgumentError, FileError, mismatch
from minnet.files import PathLike
from minnet.layers import (
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Layer,
    MaxPooling2D,
)
from minnet.loading import class_names, load_model
from minnet.optimizers import Adam
from minnet.sequential import Sequential
from minnet.tensor import Array
from minnet.vgg16.architecture import VGG16
from minnet.vgg16.names import CLASSES, imagenet_classes
from minnet.vgg16.official import IMAGENET, located
from minnet.vgg16.stated import settings_of

#: 'crop' is how torchvision makes images square, 'stretch' how Keras does.
RESIZE = {"caffe": "stretch", "torch": "crop", "rescale": "stretch"}
#: Of images, where the file of weights does not say it.
SIZE = (224, 224)
#: Of the head for convolutions that came without one: on cats and dogs better than no hidden layer
#: (0.98 against 0.97 right), and than dense layers on the flattened maps.
HIDDEN = 256
DROPOUT = 0.5  # as in the paper


class Predicted(NamedTuple):
    """For each image the winner: its probability, its number (int64) and its name."""

    probabilities: Array
    indices: Array
    names: list[str]


class Vgg16:
    """VGG16 with its preprocessing and the names of its classes, ready to predict and fine-tune.

    >>> vgg = Vgg16()
    >>> batches = vgg.get_batches("dogscats/train", batch_size=64)
    >>> val_batches = vgg.get_batches("dogscats/valid", batch_size=128)
    >>> vgg.finetune(batches)
    >>> vgg.fit(batches, val_batches, nb_epoch=1)

    ``weights``: a file of converted weights in any format, by whose convention images are read and
    preprocessed, and with dense layers as the file has them; 'imagenet', as in the lesson, those
    that Keras publishes, downloaded if need be; None draws them, for 'caffe'. A file
    without dense layers gives a model without them, which ``ft`` or ``finetune`` puts a first one
    on. ``classes``: their names; if None, ImageNet's of a model with as many, looked for when first
    needed, and else '0', '1', …. ``size``: of images, (height, width) or one number for both; None
    is the file's, which its dense layers tell if nothing else does, or (224, 224).
    ``options`` go to :func:`~minnet.vgg16.VGG16`; ``dropout`` is 0.5, as in the lesson.

    ``model`` is a :class:`minnet.Sequential` that takes pixels 0 … 255, red first; everything that
    can be done with one can be done with it.

    Raises what :func:`~minnet.vgg16.VGG16` raises, and :class:`~minnet.errors.FileError` for a file
    that does not say which images its net expects, unless ``preprocessing`` does.
    """

    def __init__(
        self,
        weights: PathLike | None = IMAGENET,
        *,
        classes: Sequence[str] | None = None,
        size: int | Size | None = None,
        **options: Any,
    ):
        settings: dict[str, Any] = {"preprocessing": "caffe", "dropout": DROPOUT}
        weights = located(weights)
        size = size if size is None else Reading.of(size, "stretch").size
        if weights is not None:
            found = settings_of(weights)
            stated = found.pop("size")
            size, settings = size or stated, settings | found
        settings |= options
        if settings["preprocessing"] is None:
            expected = "a file that says which images its net expects"
            advice = f"Say preprocessing=…, one of {', '.join(RESIZE)}."
            raise FileError(mismatch(str(weights), expected, "one that does not", advice))
        height, width = size or SIZE
        self.model: Any = VGG16(weights, input_shape=(height, width, 3), **settings)
        self._classes = None if classes is None else list(classes)

    @classmethod
    def load(cls, path: PathLike) -> Vgg16:
        """What :meth:`save` wrote, the names of classes with it.

        Raises what :func:`minnet.load_model` raises, and :class:`~minnet.errors.FileError` for a
        model that does not begin with preprocessing of images.
        """
        vgg = cls.__new__(cls)
        vgg.model = load_model(path)
        layers = vgg.model.layers
        if not isinstance(vgg.model, Sequential) or not hasattr(layers[0], "mode"):
            expected = "a model that begins with ImagePreprocessing"
            raise FileError(mismatch(str(path), expected, "another"))
        vgg._classes = class_names(path)
        return vgg

    def save(self, path: PathLike) -> None:
        """Write the whole model and the names of its classes to one safetensors file.

        Raises what :meth:`minnet.Sequential.save` raises.
        """
        saving.save(self.model, path, class_names=self._classes)

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of the model's outputs.

        Raises what :func:`~minnet.vgg16.imagenet_classes` raises where they are ImageNet's, and
        :class:`~minnet.errors.ArgumentError` for convolutions without a head, or more or fewer
        names than outputs.
        """
        if len(self.model.output_shape) != 1:
            advice = "vgg.finetune(batches), or minnet finetune, puts a head on them."
            expected, received = "a model with classes", "convolutions alone"
            raise ArgumentError(mismatch("Vgg16", expected, received, advice))
        (count,) = self.model.output_shape
        if self._classes is None:
            numbers = [str(k) for k in range(count)]
            imagenet = count == CLASSES
            self._classes = [found.name for found in imagenet_classes()] if imagenet else numbers
        if len(self._classes) != count:
            where, expected = f"classes of {self.model.name!r}", f"the names of {count}"
            raise ArgumentError(mismatch(where, expected, f"{len(self._classes)}"))
        return self._classes

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images that the model takes."""
        height, width, _ = self.model.layers[0].output_shape
        return height, width

    @property
    def resize(self) -> str:
        """How images get that size."""
        return RESIZE[self.model.layers[0].mode]

    def get_batches(
        self, path: PathLike, shuffle: bool = True, batch_size: int = 8, **options: Any
    ) -> ImageFolder:
        """Batches of a folder with a directory for each class, at the model's size.

        ``options`` go to :class:`minnet.data.ImageFolder`. Raises what that raises.
        """
        settings = {"size": self.size, "resize": self.resize, **options}
        return ImageFolder(path, batch_size, shuffle=shuffle, **settings)

    def ft(self, num: int) -> None:
        """Replace the last layer by one for ``num`` classes and freeze all others; compile.

        On a model whose file had no dense layers, all of its head is new each time: the mean of
        each feature map, a dense layer of 256 units with dropout, and the last one.

        Raises :class:`~minnet.errors.ArgumentError` unless ``num`` is a whole number of at least 1.
        """
        model, count = self.model, whole("ft", num, 1)
        head: list[Layer] = [Dense(count, activation="softmax", name="predictions")]
        if any(isinstance(layer, Flatten) for layer in model.layers):
            model.pop()
        else:
            while not isinstance(model.layers[-1], MaxPooling2D):
                model.pop()
            mean = GlobalAveragePooling2D(name="global_average_pooling2d")
            hidden = Dense(HIDDEN, activation="relu", name="fc1")
            head = [mean, hidden, Dropout(DROPOUT, name="fc1_dropout"), *head]
        for layer in model.layers:
            layer.trainable = False
        for layer in head:
            model.add(layer)
        self._classes = [str(k) for k in range(count)]
        self.compile()

    def finetune(self, batches: ImageFolder) -> None:
        """:meth:`ft` for the classes of these batches, whose names are then the model's.

        Raises :class:`~minnet.errors.ArgumentError` for anything but an image folder's batches.
        """
        if not isinstance(batches, ImageFolder):
            expected, advice = "batches of a folder", "vgg.get_batches(path) makes them."
            raise ArgumentError(mismatch("finetune", expected, type(batches).__name__, advice))
        self.ft(len(batches.classes))
        self._classes = list(batches.classes)

    def unfreeze(self, name: str) -> None:
        """Train the layers from the one of this name on, and freeze those before it.

        Call :meth:`compile` with a small rate then: what the layers have learned is worth keeping.

        Raises :class:`~minnet.errors.ArgumentError` where no layer is called so.
        """
        place = self.model.place_of(name)
        for k, layer in enumerate(self.model.layers):
            layer.trainable = k >= place

    def frozen(self) -> Sequential:
        """The layers that the model begins with and that give the same for an image each time.

        They end with the last frozen one, before a dropout that follows it.

        Raises :class:`~minnet.errors.ArgumentError` where no layer with weights is frozen.
        """
        layers = self.model.layers
        weighted = [layer for layer in layers if layer.parameters]
        learning = next((layer for layer in weighted if layer.trainable), None)
        same = layers if learning is None else layers[: layers.index(learning)]
        last = max((k for k, layer in enumerate(same) if layer.parameters), default=None)
        if last is None:
            advice = "Call vgg.finetune(batches) first, or set layer.trainable = False."
            raise ArgumentError(mismatch("Vgg16.frozen", "frozen layers", "none", advice))
        while last + 1 < len(same) and not isinstance(same[last + 1], Dropout):
            last += 1
        base: Sequential = self.model.upto(same[last].name)
        return base

    def compile(self, lr: float = 0.001) -> None:
        """Adam, categorical cross-entropy, accuracy: as the lesson trains."""
        self.model.compile(Adam(lr), "categorical_crossentropy", ["accuracy"])

    def fit(
        self, batches: Any, val_batches: Any = None, nb_epoch: int = 1, **options: Any
    ) -> History:
        """Train on batches; ``options`` go to :meth:`minnet.Sequential.fit`, which says more.

        Raises :class:`~minnet.errors.ArgumentError` where the batches' classes are not the model's.
        """
        self._require_classes(batches, val_batches)
        history: History = self.model.fit(
            batches, validation_data=val_batches, nb_epoch=nb_epoch, **options
        )
        return history

    def fit_features(
        self,
        batches: ImageFolder,
        val_batches: ImageFolder | None = None,
        nb_epoch: int = 1,
        cache: PathLike = "features",
        **options: Any,
    ) -> History:
        """:meth:`fit`, where the frozen layers see each image once and not in each epoch.

        What they give is kept in the directory ``cache``, as :meth:`minnet.Sequential.features`
        explains; the other layers are trained on that, ``options["batch_size"]`` rows at a time. A
        dropout among frozen layers drops nothing.

        Raises what :meth:`fit`, :meth:`frozen` and :meth:`minnet.Sequential.features` raise.
        """
        self._require_classes(batches, val_batches)
        verbose = options.get("verbose", 1)
        base = self.frozen()
        head = self.model.after(base.layers[-1].name)
        given = [b for b in (batches, val_batches) if b is not None]
        kept = [base.features(b, cache, verbose) for b in given]
        # Trained as the whole model would be, and with its optimizer, which remembers.
        head.loss, head.metrics = self.model.loss, self.model.metrics
        head.optimizer = self.model.optimizer
        validation = kept[1] if len(kept) > 1 else None
        history: History = head.fit(
            *kept[0], validation_data=validation, nb_epoch=nb_epoch, **options
        )
        self.model.history = history
        return history

    def _require_classes(self, *given: Any) -> None:
        for batches in given:
            if isinstance(batches, ImageFolder) and batches.classes != self.classes:
                advice = "Call vgg.finetune(batches) first."
                expected = f"classes {_shown(self.classes)}"
                raise ArgumentError(mismatch("fit", expected, _shown(batches.classes), advice))

    def fit_data(
        self,
        trn: npt.ArrayLike,
        labels: npt.ArrayLike,
        val: npt.ArrayLike,
        val_labels: npt.ArrayLike,
        nb_epoch: int = 1,
        batch_size: int = 64,
    ) -> History:
        """Train on arrays of images and one-hot labels, validated on others."""
        history: History = self.model.fit(
            trn, labels, batch_size, nb_epoch, validation_data=(val, val_labels)
        )
        return history

    def test(self, path: PathLike, batch_size: int = 8) -> tuple[ImageFolder, Array]:
        """The images of a folder in order (``files`` says which), and their probabilities."""
        batches = self.get_batches(path, shuffle=False, batch_size=batch_size, labelled=False)
        return batches, self.model.predict(batches, batch_size)

    def predict(self, imgs: npt.ArrayLike, details: bool = False) -> Any:
        """The probabilities (n, classes) of images (n, height, width, 3) of pixels 0 … 255.

        ``details``: gives the winners instead, as :class:`Predicted`.
        """
        if not details:
            return self.model.predict(imgs)
        names = self.classes
        every: Array = self.model.predict(imgs)
        indices = every.argmax(1)
        return Predicted(
            every[np.arange(len(every)), indices], indices, [names[k] for k in indices]
        )


def _shown(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f", … ({len(names)})" if len(names) > 5 else "")
