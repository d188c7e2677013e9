"""The models a caller may name."""

from typing import Literal

from aiohttp import web
from pydantic import BaseModel

from gateway.deps import DEPS
from gateway.http.errors import not_found

# Aliases are ours and have no date of their own; clients expect the field.
CREATED = 0


class Model(BaseModel):
    """One model, in OpenAI's shape."""

    id: str
    object: Literal["model"] = "model"
    created: int = CREATED
    owned_by: str = "sonant"


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[Model]


async def list_models(request: web.Request) -> web.Response:
    """`GET /v1/models`."""
    names = await request.app[DEPS].models.names()
    return web.json_response(text=ModelList(data=[Model(id=name) for name in names]).model_dump_json())


async def get_model(request: web.Request) -> web.Response:
    """`GET /v1/models/{model}`."""
    name = request.match_info["model"]
    if name not in await request.app[DEPS].models.names():
        raise not_found(f"The model '{name}' does not exist.", "model", "model_not_found")
    return web.json_response(text=Model(id=name).model_dump_json())
