"""The active set of the user or project, put into the request: the prompt, the tools, the temperature."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson

from common.bus.port import BusUnavailableError
from common.clients.resources.client import ActiveSets, BrokenSetError, Resolved
from common.dialects.prosody import last_scores, summary, with_summary
from common.events.chat import ChatReplyRequested, ServedSet
from common.events.resource_terms import DEFAULT_PROJECT
from llm_stream.aliases import Alias
from llm_stream.answer.failure import bad_request
from llm_stream.metrics import ACTIVE_SETS

# A caller would rather have an answer without the set than wait longer for it.
RESOLVE_SECONDS = 1.0


async def with_active_set(
    request: ChatReplyRequested, alias: Alias, sets: ActiveSets
) -> tuple[dict[str, Any], ServedSet | None]:
    """The request's body with the active set in it, and which that is; as it is where nobody is named or there is none.

    A set that cannot be resolved in `RESOLVE_SECONDS` is left out, and counted. One of which a part is gone for good
    is not: nobody wants to be answered by a model without its prompt. Raises AnswerFailed (409), as the API answers.
    """
    if request.user_id is None and request.project_id is None:
        return request.body, None
    found = await _resolved(request, sets)
    if found is None:
        return request.body, None
    served = ServedSet(layer=found.layer, revision=found.revision, candidate=found.candidate, stale=found.stale)
    return merged(request.body, found.json(), offers_tools=alias.calls_tools), served


async def _resolved(request: ChatReplyRequested, sets: ActiveSets) -> Resolved | None:
    outcome = "away"
    found: Resolved | None = None
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await sets.resolve(request.org_id, request.project_id or DEFAULT_PROJECT, request.user_id or "")
        outcome = "none" if found is None else "stale" if found.stale else "used"
    except BrokenSetError as error:
        ACTIVE_SETS.labels("broken").inc()
        raise bad_request(409, str(error), code="not_servable") from None
    except (BusUnavailableError, TimeoutError):
        outcome = "away"
    ACTIVE_SETS.labels(outcome).inc()
    return found


def merged(body: Mapping[str, Any], active: Mapping[str, Any], *, offers_tools: bool) -> dict[str, Any]:
    """A chat request with the set in it: what the caller sent stands, and its messages follow the prompt."""
    request = dict(body)
    if text := active["prompt"].get("text"):
        request["messages"] = [{"role": "system", "content": text}, *body["messages"]]
    if wanted := active["config"].get("prosody"):
        request["messages"] = _with_prosody(request["messages"], wanted)
    temperature = (active["config"].get("language_model") or {}).get("temperature")
    if temperature is not None and body.get("temperature") is None:
        request["temperature"] = temperature
    if offers_tools and "functions" not in body and (tools := _tools(body, active)):
        request["tools"] = tools
    return request


def _with_prosody(messages: list[dict[str, Any]], wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages with how the user sounds, where that was measured."""
    text = summary(last_scores(messages), wanted["template"], wanted["number"], wanted["tokens"])
    return with_summary(messages, text) if text else messages


def _tools(body: Mapping[str, Any], active: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The caller's tools, and of the set's those whose names the caller has not taken."""
    own = list(body.get("tools") or [])
    taken = {(tool.get("function") or {}).get("name") for tool in own}
    return own + [_function(tool) for tool in active["tools"] if tool["name"] not in taken]


def _function(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool of the catalogue as an OpenAI function; its parameters are JSON Schema in a string.

    One that Sonant runs says how in the member `sonant`, which no upstream sees.
    """
    known = {"name": tool["name"], "description": tool.get("description")}
    function = {name: value for name, value in known.items() if value}
    definition = {"type": "function", "function": {**function, "parameters": orjson.loads(tool["parameters"])}}
    if (run := tool.get("run")) is not None:
        definition["sonant"] = {**run, "fallback": tool.get("fallback_content")}
    return definition
