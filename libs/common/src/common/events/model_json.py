"""Models as JSON and back: pydantic's own serializer and validator, without the methods around them.

The methods look up a dozen options with each call, which takes longer than the work itself on models of this size.
"""

from typing import TypeVar

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)


def to_json(model: BaseModel, *, exclude_none: bool = False, exclude_unset: bool = False) -> bytes:
    """A model as JSON in UTF-8. Raises PydanticSerializationError on what JSON cannot hold."""
    return model.__pydantic_serializer__.to_json(model, exclude_none=exclude_none, exclude_unset=exclude_unset)


def from_json(kind: type[M], data: bytes | str) -> M:
    """The inverse of `to_json`. Raises ValidationError."""
    read: M = kind.__pydantic_validator__.validate_json(data)
    return read
