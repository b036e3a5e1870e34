"""VGG16: the network, its preprocessing, and the names of what it was trained to see."""

from minnet.layers.preprocessing import preprocess_input
from minnet.vgg16.architecture import VGG16
from minnet.vgg16.lesson import Predicted, Vgg16
from minnet.vgg16.names import Decoded, ImageNetClass, decode_predictions, imagenet_classes

__all__ = [
    "VGG16",
    "Decoded",
    "ImageNetClass",
    "Predicted",
    "Vgg16",
    "decode_predictions",
    "imagenet_classes",
    "preprocess_input",
]
