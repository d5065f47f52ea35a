"""What users write: YAML files, and what is wrong with them in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from synth.credentials import masked, shown
from synth.errors import UserError, did_you_mean


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice instead of keeping the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is not a plain word; quote it", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, error_type: type[UserError]) -> dict[str, Any]:
    """Read a YAML mapping; every way this can fail becomes one message of `error_type`."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)
    except FileNotFoundError as error:
        raise error_type(str(path), "there is no such file", "Check the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise error_type(str(path), f"cannot be read ({error})", "Give a UTF-8 file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise error_type(
            str(path), f"not valid YAML{place}: {problem}", "Mend that line"
        ) from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise error_type(str(path), f"holds a {type(data).__name__}", "Give a mapping of keys")
    return data


def explain(error: ValidationError, model: type[BaseModel]) -> tuple[str, str]:
    """The first mistake of a validation error in words: what was found, what would be right."""
    details = error.errors()
    first = details[0]
    loc = [str(part) for part in first["loc"] if part not in ("int", "literal['auto']")]
    field = ".".join(loc)
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, loc[:-1])
        prefix = "".join(f"{name}." for name in loc[:-1])
        hint = did_you_mean(field, [prefix + name for name in known])
        return f"unknown key {field!r}{hint}{more}", f"Known keys here: {', '.join(known)}"
    if first["type"] == "missing":
        return f"{field!r} is missing{more}", f"Add {loc[-1]!r}"
    message = masked(first["msg"].removeprefix("Value error, "))
    if first["type"] == "value_error" and isinstance(first["input"], dict):
        return f"{field}: {message}{more}" if field else message + more, "Change one of them"
    return f"{field!r} is {shown(first['input'])}{more}", message[0].upper() + message[1:]


def _known_keys(model: type[BaseModel], loc: Sequence[str]) -> list[str]:
    for name in loc:
        field = model.model_fields.get(name)
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)
