"""What counts as breaking with readers of a frozen schema."""

from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from common.docs.schemas import breaches


class Part(BaseModel):
    size: int


class Old(BaseModel):
    name: str
    kind: Literal["a", "b"] = "a"
    note: str | None = None
    parts: tuple[Part, ...] = ()


def test_nothing_changed_breaks_nothing() -> None:
    assert found(Old) == []


def test_optional_fields_new_definitions_and_words_may_come() -> None:
    class Extra(BaseModel):
        colour: str

    class Old(BaseModel):
        """Now with a description."""

        name: str = Field(description="What it is called.")
        kind: Literal["a", "b"] = "b"
        note: str | None = None
        parts: tuple[Part, ...] = ()
        extra: Extra | None = None
        description: str | None = None

    assert found(Old) == []


class Removed(BaseModel):
    name: str
    kind: Literal["a", "b"] = "a"
    parts: tuple[Part, ...] = ()


class NewlyRequired(Old):
    more: str


class NoLongerRequired(Old):
    name: str = ""


class Retyped(Old):
    note: int | None = None  # type: ignore[assignment]


class WiderChoice(Old):
    kind: Literal["a", "b", "c"] = "a"  # type: ignore[assignment]


class Bounded(Old):
    name: str = Field(max_length=5)


class OtherPart(BaseModel):
    size: int
    weight: int


class DeepInside(Old):
    parts: tuple[OtherPart, ...] = ()  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("new", "place"),
    [
        (Removed, "/properties/note"),
        (NewlyRequired, "/required"),
        (NoLongerRequired, "/required"),
        (Retyped, "/properties/note"),
        (WiderChoice, "/properties/kind/enum"),
        (Bounded, "/properties/name/maxLength"),
        (DeepInside, "/properties/parts"),
    ],
)
def test_anything_else_is_named_with_its_place(new: type[BaseModel], place: str) -> None:
    assert any(breach.startswith(place) for breach in found(new))


def test_a_change_inside_a_definition_is_found_where_that_is_used() -> None:
    old, new = _with_part("Part", "integer"), _with_part("Part", "string")
    assert list(breaches(old, new)) == ["/properties/part/properties/size/type was 'integer' and is 'string'"]


def test_what_may_be_an_object_or_nothing_grows_like_any_other() -> None:
    old, grown, retyped = ({"properties": {"part": {"anyOf": [part, {"type": "null"}]}}} for part in _parts())
    assert list(breaches(old, grown)) == []
    [breach] = breaches(old, retyped)
    assert breach.startswith("/properties/part/anyOf/0/properties/size/type was 'integer'")
    assert list(breaches(old, {"properties": {"part": {"anyOf": [{"type": "null"}]}}}))


def _parts() -> list[dict[str, Any]]:
    size = {"type": "integer"}
    shapes = ({"size": size}, {"size": size, "weight": size}, {"size": {"type": "string"}})
    return [{"type": "object", "properties": properties} for properties in shapes]


def test_the_name_of_a_definition_does_not_travel() -> None:
    assert list(breaches(_with_part("Part", "integer"), _with_part("Piece", "integer"))) == []


def _with_part(name: str, size: str) -> dict[str, Any]:
    part = {"properties": {"size": {"type": size}}, "required": ["size"]}
    return {"$defs": {name: part}, "properties": {"part": {"$ref": f"#/$defs/{name}"}}}


def found(new: type[BaseModel]) -> list[str]:
    return list(breaches(Old.model_json_schema(), new.model_json_schema()))
