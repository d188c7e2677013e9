"""Field types and parents that the bodies and queries of several routes share."""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from common.events.first_error import FewUnknown

MAX_INT = 2**31 - 1  # what a database column holds


def whole(value: Any) -> Any:
    """JSON knows one kind of number: 60.0 is the integer 60."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = BeforeValidator(whole)
# Anything one can read.
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
# Ids go into paths of providers, keys of caches and records: nothing in them has a meaning there.
ResourceId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
ProjectId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
# Versions count from 0, revisions from 1.
Version = Annotated[int, Field(ge=0, le=MAX_INT), Whole]
Revision = Annotated[int, Field(ge=1, le=MAX_INT), Whole]


def flag(value: Any) -> Any:
    """`true` or `false` as a query spells them; anything else is left to be refused."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


# In a query; of the words for yes and no that pydantic knows, these two alone.
Flag = Annotated[bool, Field(strict=True), BeforeValidator(flag, json_schema_input_type=bool)]


class Strict(FewUnknown):
    """A body: a wrong type or an unknown name is an error, never a guess."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Query(FewUnknown):
    """Query parameters: texts are read as what they stand for, an unknown name is an error."""

    model_config = ConfigDict(extra="forbid")
