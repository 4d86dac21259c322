"""Values: in the types that a schema declares, and as messages show them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ganbench.errors import ConfigError
from ganbench.schema import Config, defaults

_TYPES = {
    "int": "an integer",
    "int | None": "an integer or null",
    "float": "a number",
    "float | None": "a number or null",
    "bool": "true or false",
    "str": "text",
    "str | None": "text or null",
    "list[int] | None": "a list of integers or null",
    "list[str] | None": "a list of names or null",
    "dict[str, Any]": "a group of keys",
    "dict[str, int]": "a group of keys with integers",
}


def typed(schema: type, values: Mapping[str, Any], group: str, known: Iterable[str] = ()) -> Config:
    """`values` in the types that the dataclass `schema` declares, its defaults for what they lack.

    Raises:
        ConfigError: an unknown or missing key, or a value of another type.
    """
    prefix = f"{group}." if group else ""
    names = [field.name for field in fields(schema)]
    values = {**defaults(schema), **values}
    for key in values:
        if key not in names:
            close = difflib.get_close_matches(str(key), [*names, *known], n=1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"known: {', '.join(names) or 'none'}"
            raise ConfigError(f"{prefix}{key}: unknown key; {hint}")
    for name in names:
        if name not in values:
            raise ConfigError(f"{prefix}{name}: missing; give it a value")
    return converted(schema, values, group)


def converted(schema: type, values: Mapping[str, Any], group: str) -> Config:
    """`values` in the types that the dataclass `schema` declares; those of no field stay as they are.

    So do all of a schema with types that a configuration cannot hold.

    Raises:
        ConfigError: a value of another type.
    """
    prefix = f"{group}." if group else ""
    try:
        node = OmegaConf.structured(schema)
    except OmegaConfBaseException:
        return dict(values)
    OmegaConf.set_readonly(node, False)  # that of a frozen dataclass is
    given = [field for field in fields(schema) if field.name in values]
    for field in given:
        value, wanted = values[field.name], _TYPES.get(str(getattr(field.type, "__name__", field.type)))
        rule = wanted or str(field.type)
        if rule.startswith("an integer") and isinstance(value, float) and value.is_integer():
            rule += f", without point and exponent: {int(value)}"
        refusal = ConfigError(f"{prefix}{field.name}={shown(value)}: must be {rule}")
        # OmegaConf takes a truth value for an integer, and a number for a truth value.
        if wanted and wanted.startswith("an integer") and isinstance(value, bool):
            raise refusal
        if wanted == _TYPES["bool"] and is_number(value):
            raise refusal
        try:
            node.merge_with({field.name: value})
        except OmegaConfBaseException as error:
            raise refusal from error
    plain = OmegaConf.to_container(node)
    return {**values, **{field.name: plain[field.name] for field in given}}  # type: ignore[call-overload,index]


def shown(value: Any) -> str:
    """A value as it would be given on the command line."""
    return "null" if value is None else f"{value}"


def is_number(value: Any) -> bool:
    """Whether it is an integer or a float: a truth value is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
