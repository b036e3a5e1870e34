"""Settings as JSON holds them: what makes an equal object again, never code.

A settings dict has an object's keyword arguments. An object among them is written as
``{"class_name": …, "config": …}``, a function of one's own as ``{"function": name}``: whoever reads
it back looks the name up in a table and hands it the settings; nothing is imported or executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from minnet.errors import ArgumentError, mismatch, unknown_name

Config = dict[str, Any]


def of_object(thing: Any) -> Config:
    """An object by its class's name and its settings.

    Raises :class:`~minnet.errors.ArgumentError` for an object that does not tell its settings.
    """
    kind = type(thing).__name__
    if not hasattr(thing, "config"):
        advice = f"Give class {kind} a method config() with its keyword arguments, to save it."
        raise ArgumentError(mismatch(kind, "an object with settings", "one without", advice))
    return {"class_name": kind, "config": thing.config()}


def of_function(function: Any) -> Config:
    """A function of one's own by its name; an object that can be called by its settings.

    Raises :class:`~minnet.errors.ArgumentError` for a lambda, which has neither.
    """
    name = getattr(function, "__name__", None)
    if name is None:
        return of_object(function)
    if not name.isidentifier():
        advice = "Write it as a function: def name(...). Whoever loads the file then passes it."
        raise ArgumentError(mismatch("saving a function", "one with a name", name, advice))
    return {"function": name}


def build(kind: str, config: Any, table: Mapping[str, Any]) -> Any:
    """The object that :func:`of_object` described; its class is looked up in ``table``.

    Raises :class:`~minnet.errors.ArgumentError` for a class that is not there and for settings that
    it does not take.
    """
    name, settings = read(kind, config)
    if name not in table:
        raise unknown_name(kind, name, table)
    cls = table[name]
    make = getattr(cls, "from_config", None) or (lambda config: cls(**config))
    try:
        return make(settings)
    except TypeError as error:
        advice = f"{name}.config() gives the keyword arguments of {name}(...)."
        received = f"{', '.join(map(str, settings)) or 'none'} ({error})"
        raise ArgumentError(mismatch(name, "settings that it takes", received, advice)) from None


def to_json(value: Any) -> str:
    """Settings as JSON, NumPy's numbers as Python's; the same settings give the same text.

    Raises :class:`~minnet.errors.ArgumentError` for anything but numbers, texts, lists and dicts.
    """
    try:
        return json.dumps(value, default=_plain, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        expected = "numbers, texts, lists and dicts"
        raise ArgumentError(mismatch("settings", expected, str(error))) from None


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(type(value).__name__)


def read(kind: str, config: Any) -> tuple[str, Config]:
    """Class name and settings of what :func:`of_object` gave, checked."""
    if isinstance(config, dict):
        name, settings = config.get("class_name"), config.get("config")
        if isinstance(name, str) and isinstance(settings, dict) and len(config) == 2:
            return name, settings
    expected = '{"class_name": …, "config": {…}}'
    raise ArgumentError(mismatch(f"settings of a {kind}", expected, f"{config!r:.80}"))
