"""Reading what strangers send, at the price of the first thing that is wrong with it.

A validator that collects every error of a large body takes longer, and more memory, than anything else that is done
with it: 4 MB of wrong list entries are two million errors. Callers are told the first one alone. So lists are declared
`Annotated[list[...], Field(fail_fast=True)]`, and models that know all their fields pass on one unknown field.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, model_validator


class FewUnknown(BaseModel):
    """A parent for models with `extra="forbid"`: of all fields that it does not know it looks at one."""

    @model_validator(mode="before")
    @classmethod
    def _one_unknown(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or len(value) <= len(cls.model_fields):
            return value
        known = {name for own, field in cls.model_fields.items() for name in (own, field.alias) if name}
        unknown = (name for name in value if name not in known)
        first = next(unknown, None)
        return {name: value[name] for name in (*known, first) if name in value}
