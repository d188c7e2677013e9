"""Data of callers as models; what does not fit is refused by name."""

from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from gateway.http import errors

M = TypeVar("M", bound=BaseModel)


def validate(model: type[M], data: Any) -> M:
    """`data` as `model`; raises Refused 400 that names the first parameter at fault."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    param = ".".join(str(part) for part in first["loc"]) or None
    code = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}.get(first["type"])
    subject = f"Invalid '{param}'" if param else "Invalid request"
    reason = first["msg"].removeprefix("Value error, ")
    raise errors.bad_request(f"{subject}: {reason}.", param, code or "invalid_value")


def read_query(request: web.Request, model: type[M]) -> M:
    """The query parameters as `model`; raises Refused 400. A parameter may be given once."""
    query = request.query
    for name in query:
        if len(query.getall(name)) > 1:
            raise errors.bad_request(f"Invalid '{name}': given more than once.", name, "invalid_value")
    return validate(model, dict(query))
