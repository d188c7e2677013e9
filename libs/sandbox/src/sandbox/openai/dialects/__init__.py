"""Servers that call themselves OpenAI-compatible: how each of them words its errors and puts its answers."""

from types import MappingProxyType
from typing import Any

from sandbox.openai.dialects import azure, llama_cpp, mistral, ollama, sglang, vllm
from sandbox.openai.dialects.dialect import Dialect, TranslatedError
from sandbox.openai.errors import ApiError, invalid

ALL = (azure.AZURE, llama_cpp.LLAMA_CPP, mistral.MISTRAL, ollama.OLLAMA, sglang.SGLANG, vllm.VLLM)
BY_NAME = MappingProxyType({each.name: each for each in ALL})


def spoken(header: str, model: str) -> tuple[Dialect | None, str]:
    """Return the dialect that a header or the beginning of a model name asks for, and the name without it.

    None is OpenAI's own. Raise ApiError for a header that names no dialect.
    """
    prefix, slash, rest = model.partition("/")
    named = BY_NAME.get(prefix) if slash else None
    if header and header not in BY_NAME:
        message = f"Unknown sandbox dialect '{header}'; there are {', '.join(BY_NAME)}."
        raise invalid(message, "x-sandbox-dialect", "unknown_dialect")
    return (BY_NAME[header] if header else named), (rest if named else model)


def translated(error: ApiError, dialect: Dialect | None, body: dict[str, Any]) -> ApiError:
    """Return the error as the dialect words it."""
    if dialect is None or isinstance(error, TranslatedError):
        return error
    return dialect.translated(error, str(body.get("model")), streaming=body.get("stream") is True)
