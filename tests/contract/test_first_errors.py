"""No model that reads what strangers send collects errors without end: it stops at the first of a list."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic import BaseModel

import gateway
import resources
from common.events.registry import EVENTS
from common.events.spec import Payload

LISTS = frozenset({"list", "set", "frozenset", "tuple"})
# What we write ourselves, and nobody sends.
OURS = ("gateway.chat.completion_answer", "gateway.chat.model_views", "gateway.chat.response_answer")
ANSWERS = frozenset(
    {
        *("ActiveTools", "AssetLink", "CreatedKey", "Embedding", "EmbeddingList", "Interrupted", "Key", "KeyList"),
        *("FileList", "FoundPiece", "FoundPieces", "ItemList", "JobEvent"),
        *("SessionPage", "VideoModelList", "VideoModelView"),
        # The second is the parent of the first.
        *("SpokenOrQueued", "RootModel[Union[SpeechFile, Job]]"),
    }
)


def models() -> Iterator[type[BaseModel]]:
    """Every model of the gateway and of resources, and the payload of every event."""
    yield from (event.payload for event in EVENTS)
    for package in (gateway, resources):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith("__main__") or module.name.startswith(OURS):
                continue
            for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
                own = found.__module__ == module.name
                if own and issubclass(found, BaseModel) and not issubclass(found, Payload) and not is_answer(found):
                    yield found


def is_answer(model: type[BaseModel]) -> bool:
    """Models of our own answers, which nobody sends."""
    return model.__name__ in ANSWERS


def lists_of(schema: Any, seen: set[int]) -> Iterator[Mapping[str, Any]]:
    """Every list in a schema of the validator."""
    if isinstance(schema, dict):
        if id(schema) in seen:
            return
        seen.add(id(schema))
        kind = schema.get("type")
        # A model may have a field of that name.
        if isinstance(kind, str) and kind in LISTS and "items_schema" in schema:
            yield schema
        for name, inner in schema.items():
            if name not in ("metadata", "serialization"):
                yield from lists_of(inner, seen)
    elif isinstance(schema, (list, tuple)):
        for inner in schema:
            yield from lists_of(inner, seen)


MODELS = sorted(set(models()), key=lambda model: f"{model.__module__}.{model.__qualname__}")
STRICT = [model for model in MODELS if model.model_config.get("extra") == "forbid"]


def test_a_list_that_is_read_stops_at_its_first_error() -> None:
    lists = {model: list(lists_of(model.__pydantic_core_schema__, set())) for model in MODELS}
    assert sum(map(len, lists.values())) > 10
    assert [model for model, found in lists.items() if not all(each.get("fail_fast") for each in found)] == []


@pytest.mark.parametrize("model", STRICT, ids=lambda model: f"{model.__module__}.{model.__qualname__}")
def test_a_model_that_knows_all_its_fields_complains_of_one_that_it_does_not_know(model: type[BaseModel]) -> None:
    with pytest.raises(ValueError, match="validation error") as raised:
        model.model_validate({f"unknown {number}": 1 for number in range(1_000)})
    assert raised.value.error_count() <= len(model.model_fields) + 1  # type: ignore[attr-defined]
