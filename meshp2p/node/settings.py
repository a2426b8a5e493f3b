"""Load a configuration from arguments, the environment, a file and a preset, in order of precedence."""

from __future__ import annotations

import logging
import os
import re
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Final, NamedTuple, Unpack

import msgspec

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.presets import find_preset
from meshp2p.errors import ConfigError
from meshp2p.http.limits import HttpLimits
from meshp2p.node.config import NodeConfig, check_path
from meshp2p.node.options import NodeOptions

__all__ = [
    "CA_VARIABLE",
    "JOIN_TOKEN_VARIABLE",
    "PREFIX",
    "TOKEN_VARIABLE",
    "choose_config",
    "load_config",
    "variable_of",
]

_log = logging.getLogger("meshp2p.node")

PREFIX: Final = "MESHP2P_"
_CONFIG_VARIABLE: Final = f"{PREFIX}CONFIG"
JOIN_TOKEN_VARIABLE: Final = f"{PREFIX}JOIN_TOKEN"
TOKEN_VARIABLE: Final = f"{PREFIX}TOKEN"
CA_VARIABLE: Final = f"{PREFIX}CA"
_OTHER_VARIABLES: Final = (_CONFIG_VARIABLE, JOIN_TOKEN_VARIABLE, TOKEN_VARIABLE, CA_VARIABLE)
"""Those of the commands; nodes read only the first."""
_GROUPS: Final[dict[str, type[msgspec.Struct]]] = {"protocol": ProtocolConfig, "limits": HttpLimits}
_SHOWN_MAX: Final = 80


class _Setting(NamedTuple):
    """A value, and its source for error messages."""

    value: Any
    source: str


_OPTIONS: Final = (
    "preset",
    *(name for name in NodeConfig.__struct_fields__ if name not in _GROUPS),
    *(f"{group}.{name}" for group, shape in _GROUPS.items() for name in shape.__struct_fields__),
)
"""All keys: ``"port"``, ``"protocol.quorum"``."""


def _kind_of(key: str) -> Any:
    """Return the type of an option."""
    group, _, name = key.rpartition(".")
    return str if key == "preset" else typing.get_type_hints(_GROUPS.get(group, NodeConfig))[name]


def variable_of(key: str) -> str:
    """Return the environment variable of a key: ``"protocol.quorum"`` is ``MESHP2P_PROTOCOL_QUORUM``."""
    return PREFIX + key.replace(".", "_").upper()


_KEYS: Final = {variable_of(key): key for key in _OPTIONS}


def load_config(
    path: str | os.PathLike[str] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    is_strict: bool = False,
    **options: Unpack[NodeOptions],
) -> NodeConfig:
    """Load a configuration from ``options``, the environment, a TOML file, and a preset, in order of precedence.

    ``options`` are the fields of :class:`~meshp2p.NodeConfig`, and ``preset``. The file is ``path``, or the one named
    by ``MESHP2P_CONFIG``; without either, no file is read. ``environment`` replaces that of the process.

    An unknown variable ``MESHP2P_...`` is logged as a warning, once per process; with ``is_strict`` it is an error.
    Variables that Kubernetes and Docker set for a service named ``meshp2p`` are ignored.

    Raises :class:`~meshp2p.errors.ConfigError` for an invalid value, an unknown key, or an unreadable file. The message
    names the value, its source and what is allowed.
    """
    variables = os.environ if environment is None else environment
    settings = _read_environment(variables, is_strict=is_strict)
    file = path if path is not None else variables.get(_CONFIG_VARIABLE) or None
    settings = (_read_file(_find(file)) if file is not None else {}) | settings
    for name, value in options.items():
        if name not in _OPTIONS and name not in _GROUPS:
            allowed = ", ".join(("preset", *NodeConfig.__struct_fields__))
            raise ConfigError(f"unknown option {name!r}:{_suggest(name, _OPTIONS)} expected one of {allowed}")
        if name in _GROUPS:  # given as a whole
            settings = {key: one for key, one in settings.items() if not key.startswith(f"{name}.")}
        settings[name] = _Setting(value, "an argument")
    preset = settings.pop("preset", None)
    if preset is not None and preset.value is not None:
        settings = _preset_settings(preset, settings) | settings
    return _build(settings)


def choose_config(
    config: NodeConfig | None, options: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> NodeConfig:
    """Return the configuration of a node that is opened with these arguments.

    A given configuration is complete; the environment is read only without one. Raises
    :class:`~meshp2p.errors.ConfigError`.
    """
    if config is None:
        return load_config(None, environment=environment, **options)
    if not isinstance(config, NodeConfig):
        raise ConfigError(f"config = {config!r:.80}: expected a NodeConfig")
    if "preset" in options:
        raise ConfigError(
            f"preset = {options['preset']!r}: expected none with a configuration; pass it to load_config instead"
        )
    return NodeConfig.of(config, **options)


def _preset_settings(preset: _Setting, others: Mapping[str, _Setting]) -> dict[str, _Setting]:
    try:
        chosen = find_preset(preset.value)
    except ConfigError as error:
        raise ConfigError(f"{error}; preset comes from {preset.source}") from None
    source = f"the preset {chosen.name!r}"
    return {
        choice.key: _Setting(choice.value, source)
        for choice in chosen.choices
        if choice.key.partition(".")[0] not in _GROUPS or choice.key.partition(".")[0] not in others
    }


# The environment


_SERVICE_NAME: Final = re.compile(
    r"MESHP2P_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR|PORT_(START|END)))?)"
)
_SERVICE_URL: Final = re.compile(r"(tcp|udp|sctp)://", re.IGNORECASE)
_warned: Final[set[str]] = set()


def _is_of_a_service(variable: str, text: str) -> bool:
    """Return whether Kubernetes or a Docker link set the variable, for a service whose name begins with ``meshp2p``."""
    is_url = variable.endswith("_PORT") and _SERVICE_URL.match(text) is not None
    return is_url or _SERVICE_NAME.fullmatch(variable) is not None


def _read_environment(variables: Mapping[str, str], *, is_strict: bool) -> dict[str, _Setting]:
    settings: dict[str, _Setting] = {}
    for variable, text in variables.items():
        if not variable.startswith(PREFIX) or variable in _OTHER_VARIABLES or not text:
            continue
        if _is_of_a_service(variable, text):
            continue
        key = _KEYS.get(variable)
        if key is None:
            problem = (
                f"unknown environment variable {variable}:{_suggest(variable, (*_KEYS, *_OTHER_VARIABLES))}"
                f" expected {PREFIX} and the name of an option"
            )
            if is_strict:
                raise ConfigError(problem)
            if variable not in _warned:
                _warned.add(variable)
                _log.warning("%s", problem)
            continue
        settings[key] = _Setting(_parse(variable, text, _kind_of(key)), variable)
    return settings


def _parse(variable: str, text: str, kind: Any) -> Any:
    """Convert the text of a variable to its type."""
    origin = typing.get_origin(kind)
    if origin is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    kinds = {kind} if origin is None else set(typing.get_args(kind)) - {NoneType}
    try:
        if bool in kinds:
            return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]
        if int in kinds:
            return int(text)
        if float in kinds:
            return float(text)
    except (ValueError, KeyError):
        expected = "true or false" if bool in kinds else "a whole number" if int in kinds else "a number"
        raise ConfigError(f"{variable} = {_show(text)}: expected {expected}") from None
    return _expanded(variable, text) if Path in kinds else text


def _expanded(field: str, path: str | os.PathLike[str]) -> Path:
    """Return the path with a home directory in place of ``~`` or ``~user``."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{field} = {_show(str(path))}: {error}") from None


# The file


def _find(file: str | os.PathLike[str]) -> Path:
    check_path("configuration file", file)
    return _expanded("configuration file", file)


def _read_file(path: Path) -> dict[str, _Setting]:
    import tomllib  # noqa: PLC0415  # only where it is used

    try:
        content = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"configuration file {str(path)!r}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"configuration file {str(path)!r} is not TOML in UTF-8: {error}") from None
    settings: dict[str, _Setting] = {}
    source = repr(str(path))
    for name, value in content.items():
        if name not in _GROUPS:
            settings[name] = _Setting(value, source)
        elif isinstance(value, dict):
            settings |= {f"{name}.{inner}": _Setting(one, source) for inner, one in value.items()}
        else:
            raise ConfigError(f"{name} = {_show(value)} in {source}: expected a table, [{name}]")
    for key, setting in settings.items():
        if key not in _OPTIONS:
            raise ConfigError(
                f"unknown key {key!r} in {source}:{_suggest(key, _OPTIONS)} expected an option of a node, or one of"
                " [protocol] or [limits]"
            )
        if key == "data_dir" and isinstance(setting.value, str) and setting.value:
            settings[key] = _Setting(path.parent / _expanded(key, setting.value), source)
    return settings


# All of it


def _build(settings: Mapping[str, _Setting]) -> NodeConfig:
    top = {key: setting.value for key, setting in settings.items() if "." not in key}
    for group, shape in _GROUPS.items():
        inner = {
            key.partition(".")[2]: one.value for key, one in settings.items() if key.partition(".")[0] == group != key
        }
        if inner:
            try:
                top[group] = shape(**inner)
            except ConfigError as error:
                raise ConfigError(f"{group}.{error}{_sources(str(error), settings, f'{group}.')}") from None
    try:
        return NodeConfig.of(None, **top)
    except ConfigError as error:
        raise ConfigError(f"{error}{_sources(str(error), settings, '')}") from None


def _sources(message: str, settings: Mapping[str, _Setting], prefix: str) -> str:
    """Return the source of each value that a message names."""
    named = {prefix + word: None for word in re.findall(r"[a-z]\w*(?:\.\w+)?", message)}
    found = [f"{key} comes from {settings[key].source}" for key in named if key in settings]
    return "; ".join(["", *found])


def _suggest(name: str, known: Iterable[str]) -> str:
    """Return ``" did you mean 'port'?"`` if a known name is similar."""
    import difflib  # noqa: PLC0415  # only where it is used

    names = list(known)
    same = [one for one in names if one.rpartition(".")[2] == name.rpartition(".")[2]]
    near = same or difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    if not near:
        near = [one for one in names if difflib.SequenceMatcher(None, one.rpartition(".")[2], name).ratio() > 0.75]
    return f" did you mean {near[0]!r}?" if near else ""


def _show(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_MAX else f"{shown[:_SHOWN_MAX]}..."
