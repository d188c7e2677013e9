"""Models as JSON and back: pydantic's own serializer and validator, without the methods around them.

The methods look up a dozen options with each call, which takes longer than the work itself on models of this size.
"""

from typing import Any, TypeVar

import pydantic_core
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

M = TypeVar("M", bound=BaseModel)


def to_json(model: BaseModel, *, exclude_none: bool = False, exclude_unset: bool = False) -> bytes:
    """A model as JSON in UTF-8, with U+FFFD for halves of characters, which have no UTF-8.

    What was accepted must be told, whatever a stranger's text holds.
    """
    try:
        return model.__pydantic_serializer__.to_json(model, exclude_none=exclude_none, exclude_unset=exclude_unset)
    except PydanticSerializationError:
        plain = model.model_dump(exclude_none=exclude_none, exclude_unset=exclude_unset)
        return pydantic_core.to_json(_whole(plain))


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_whole(name): _whole(each) for name, each in value.items()}
    return [_whole(each) for each in value] if isinstance(value, list | tuple) else value


def from_json(kind: type[M], data: bytes | str) -> M:
    """The inverse of `to_json`. Raises ValidationError."""
    read: M = kind.__pydantic_validator__.validate_json(data)
    return read
