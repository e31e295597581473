"""A run's settings as JSON: written, compared on a resume, read back for another run."""

import dataclasses
import json
import os
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from seqjax.storage.strict_json import nearest, parse_object, show
from seqjax.storage.typed import convert

AnyConfig = TypeVar("AnyConfig")

OF_THE_CALL = (
    *("config", "out", "resume", "platform", "cluster"),
    *("debug_nans", "profile", "tensorboard"),
)
"""Options that tell where and how to run, not what: they stay out of config.json."""

_LARGEST = 2**20  # bytes; ours have less than a thousand


class RunError(RuntimeError):
    """A run that cannot start; the message says what to do."""


def settings_of(config: Any) -> dict[str, Any]:
    """What config.json holds of a Config: its options and what it resolves them to.

    Args:
        config: a dataclass; its method ``resolved()`` gives further settings.

    Returns:
        Plain JSON, as it will be read back.

    Raises:
        RunError: from ``resolved()``, for options that do not go together.

    Example:
        >>> from seqjax.launch import Config
        >>> settings_of(Config(seeds=2))
        {'seed': 0, 'seeds': 2}
    """
    options = {name: getattr(config, name) for name in _names(type(config))}
    return _plain(options | config.resolved())


def read_config(config_type: type[AnyConfig], path: Path) -> AnyConfig:
    """A Config from a run's config.json; what the file leaves out has its default.

    Args:
        config_type: a dataclass; its method ``resolved()`` gives further settings.
        path: a JSON object. Every key is a field of `config_type`, of the field's type,
            or a setting that its fields resolve to today as they did then.

    Returns:
        The Config.

    Raises:
        RunError: where the file cannot be read or holds anything else; the message
            names the file and the field.

    Example:
        >>> import pathlib, tempfile
        >>> from seqjax.launch import Config
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "config.json"
        >>> _ = path.write_text('{"seeds": 3}')
        >>> read_config(Config, path).seeds
        3
    """
    saved = read_object(path)
    hints = typing.get_type_hints(config_type)
    names = _names(config_type)
    values = {}
    for name in names:
        if name in saved:
            try:
                values[name] = convert(saved[name], hints[name])
            except ValueError as error:
                raise RunError(f"{path}: {name!r} is {show(saved[name])}; {error}.") from None
    config: Any = config_type(**values)
    try:
        resolved = _plain(config.resolved())
    except RunError as error:
        raise RunError(f"{path}: {error}") from None
    for key in saved.keys() - values.keys():
        if key in OF_THE_CALL:
            raise RunError(f"{path}: {key!r} is no setting; say --{key} on the command line.")
        if key not in resolved:
            raise RunError(f"{path}: {_unknown(key, [*names, *resolved])}")
        if saved[key] != resolved[key]:
            where, then, now = _difference(key, saved[key], resolved[key])
            raise RunError(
                f"{path}: {where} is {show(then)}, but its other options give {show(now)}. Change"
                f" those, or take {key!r} out of it; was it edited, or written by another version?"
            )
    return config


def check_same(
    path: Path, current: dict[str, Any], may_differ: Iterable[str], defaults: dict[str, Any]
) -> None:
    """Compare a run's config.json with the settings of its resumption.

    Args:
        path: of config.json.
        current: from `settings_of`.
        may_differ: keys that need not agree.
        defaults: what a file of an earlier version, which lacks an option, means.

    Raises:
        RunError: for a file that cannot be read and for the first setting that differs,
            is missing or is unknown to this version.
    """
    saved = read_object(path)
    advice = "resume with the version that wrote it, or choose another --out."
    for key in sorted(saved.keys() - current.keys()):
        raise RunError(f"{path}: {_unknown(key, list(current))} To go on, {advice}")
    for key in sorted(current.keys() - set(may_differ)):
        now = current[key]
        if key not in saved and key not in defaults:
            raise RunError(f"{path}: there is no {key!r}, which this version has; {advice}")
        if (then := saved.get(key, defaults.get(key))) != now:
            raise RunError(
                f"{path}: the run was started with {key} = {show(then)}, not {show(now)};"
                " resume with the same options, or choose another --out."
            )


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a megabyte at most.

    Args:
        path: of the file, UTF-8.

    Returns:
        The object; no key stood there twice, all its numbers are finite.

    Raises:
        RunError: for everything else.
    """
    try:
        if not path.is_file():
            raise RunError(f"{path}: there is no such file.")
        with path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}.") from None
    if len(raw) > _LARGEST:
        raise RunError(f"{path}: more than {_LARGEST:,} bytes; that is no configuration.")
    try:
        return parse_object(raw)
    except ValueError as error:
        raise RunError(f"{path}: {error}.") from None


def _names(config_type: Any) -> list[str]:
    return [f.name for f in dataclasses.fields(config_type) if f.name not in OF_THE_CALL]


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=os.fspath))


def _unknown(key: str, known: list[str]) -> str:
    return f"there is no setting {show(key)}; there are {', '.join(known)}.{nearest(key, known)}"


def _difference(where: str, then: Any, now: Any) -> tuple[str, Any, Any]:
    """The first place at which two settings differ, such as ``settings.epochs``."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in {**now, **then}:
            if then.get(key) != now.get(key):
                return _difference(f"{where}.{show(key)[1:-1]}", then.get(key), now.get(key))
    return where, then, now
