"""TOML read into frozen dataclasses: every key known, every type checked, every message naming the key.

A field may be a text, a number, a truth value, a server name, another dataclass, or a tuple of any of these.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from relay.base.errors import ConfigError
from relay.base.ids import ServerName, parse_server_name

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class UnknownSettingError(ConfigError):
    """A section or setting that this release does not have."""

    code = "config.unknown"


T = TypeVar("T", bound="DataclassInstance")


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of the TOML file `path`.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def parse_table(kind: type[T], table: object, where: str = "") -> T:
    """Return the dataclass `kind` made from `table`; `where` is the dotted name of the table in messages.

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type or is refused by the dataclass.
    """
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where} is not a table")
    hints = get_type_hints(kind)
    refuse_unknown(f"setting in {where}" if where else "section", table, hints)
    prefix = f"{where}." if where else ""
    values = {name: _check(f"{prefix}{name}", value, hints[name]) for name, value in table.items()}
    missing = [field.name for field in fields(kind) if _is_required(field) and field.name not in table]
    if missing:
        raise ConfigError(f"{prefix}{missing[0]} is missing")
    return kind(**values)


def refuse_unknown(what: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raise an UnknownSettingError that names every key of `given` that is not in `known`."""
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        raise UnknownSettingError(f"unknown {what} {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _check(key: str, value: object, kind: Any) -> object:  # noqa: ANN401 - a type form
    if is_dataclass(kind) and isinstance(kind, type):
        return parse_table(kind, value, key)
    if get_origin(kind) is tuple:
        return _check_list(key, value, get_args(kind)[0])
    if kind is ServerName:
        if not isinstance(value, str):
            raise ConfigError(f"{key} is not a text")
        return parse_server_name(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{key} is {value!r}; it must be {kind.__name__}")
    return value


def _check_list(key: str, value: object, kind: Any) -> tuple[object, ...]:  # noqa: ANN401 - a type form
    if not isinstance(value, list):
        raise ConfigError(f"{key} is {value!r}; it must be a list")
    return tuple(_check(f"{key}[{number}]", item, kind) for number, item in enumerate(value))
