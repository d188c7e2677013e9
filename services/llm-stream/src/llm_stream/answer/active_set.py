"""The active set of the user or project, put into the request: the prompt, the tools, the temperature."""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from common.bus.port import BusUnavailableError
from common.clients.resources.client import ActiveSets, BrokenSetError, Resolved
from common.dialects.prosody import last_scores, summary, with_summary
from common.events.chat import ActiveSetUse, ChatReplyRequested
from common.events.prompt_variables import (
    BUILT_IN,
    MAX_FILLED_CHARS,
    FilledTooLong,
    built_in,
    filled,
    given_variables,
    variables_in,
)
from common.events.resource_terms import DEFAULT_PROJECT
from llm_stream.aliases import Alias, AliasTable
from llm_stream.answer.failure import bad_request
from llm_stream.history.session_variables import SessionVariables
from llm_stream.metrics import ACTIVE_SETS, UNFILLED_VARIABLES

# A caller would rather have an answer without the set than wait longer for it.
RESOLVE_SECONDS = 1.0
# What a request asks for that names no model.
DEFAULT_ALIAS = "default"
REVISION_HEADER = "x-sonant-active-revision"
LAYER_HEADER = "x-sonant-active-layer"
# The limits of a config, by their names in an alias.
TIMEOUTS = {
    "first_token_secs": "first_byte_timeout",
    "silence_secs": "idle_timeout",
    "whole_secs": "whole_timeout",
}


class Activated(NamedTuple):
    """What applies to a turn of a user or project: the set as JSON, its variables filled, and how the fact tells it.

    `greeting` is what is said where nobody has spoken yet, None where the model is to say it.
    """

    content: Mapping[str, Any]
    greeting: str | None
    use: ActiveSetUse

    @property
    def headers(self) -> dict[str, str]:
        """For the HTTP response: which revision served, of which layer."""
        return {REVISION_HEADER: str(self.use.revision), LAYER_HEADER: self.use.layer}


async def activated(request: ChatReplyRequested, sets: ActiveSets, sessions: SessionVariables) -> Activated | None:
    """The active set of the user or project that a request names; None where nobody is named or there is no set.

    A set that cannot be resolved in `RESOLVE_SECONDS` is left out, and counted. One of which a part is gone for good
    is not: nobody wants to be answered by a model without its prompt. Raises AnswerFailed: 409 for that, as the API
    answers, and 400 where neither request nor session gives what the set requires.
    """
    if request.user_id is None and request.project_id is None:
        return None
    found = await _resolved(request, sets)
    if found is None:
        return None
    active = found.json()
    config, prompt = active["config"], active["prompt"]
    greeting = (config.get("event_messages") or {}).get("on_new_chat") or {}
    said = greeting.get("text") if greeting.get("enabled") else None
    named = variables_in(prompt.get("text") or "") | variables_in(said or "")
    fill = Filling(config, await _values(request, sessions, named) if named else {})
    if text := prompt.get("text"):
        prompt["text"] = fill(text)
    use = ActiveSetUse(
        revision=found.revision,
        layer=found.layer,
        candidate=found.candidate,
        stale=found.stale,
        flags=config.get("flags") or None,
    )
    return Activated(active, fill(said) if said else None, use)


async def _values(request: ChatReplyRequested, sessions: SessionVariables, named: frozenset[str]) -> Mapping[str, str]:
    """What a request, its session and Sonant itself fill variables with."""
    try:
        given = given_variables(request.body.get("variables"))
    except ValueError as error:
        message = f"Invalid 'variables': {error}."
        raise bad_request(400, message, param="variables", code="invalid_value") from None
    own = built_in(
        request.received_at,
        user_id=request.user_id or "",
        project_id=request.project_id or DEFAULT_PROJECT,
        session_id=request.session_id,
    )
    return {**await sessions.complete(request, given, named - BUILT_IN), **own}


class Filling:
    """Fills the texts of a set: with `values`, and behind them the defaults of its config."""

    def __init__(self, config: Mapping[str, Any], values: Mapping[str, str]) -> None:
        self._declared: Mapping[str, Any] = config.get("variables") or {}
        defaults = {name: each["default"] for name, each in self._declared.items() if "default" in each}
        self._values = {**defaults, **values}

    def __call__(self, text: str) -> str:
        """The text, filled. Raises AnswerFailed (400)."""
        known = self._values
        if missing := variables_in(text) - known.keys():
            known = {**known, **{name: self._unknown(name) for name in missing}}
        try:
            return filled(text, known)
        except FilledTooLong:
            message = f"The active prompt has more than {MAX_FILLED_CHARS} characters with these variables."
            raise bad_request(400, message, param="variables", code="prompt_too_long") from None

    def _unknown(self, name: str) -> str:
        """A variable without a value: the request owes it, or the set is older than the check of its variables."""
        if name in self._declared:
            message = f"The active prompt requires the variable '{name}': give it in 'variables'."
            raise bad_request(400, message, param=f"variables.{name}", code="missing_variable")
        UNFILLED_VARIABLES.inc()
        return f"{{{{{name}}}}}"


def model_of(request: ChatReplyRequested, active: Activated | None, aliases: AliasTable) -> str:
    """The alias that answers: what the caller names, and where that is only the default, what the config names."""
    if active is None or request.model != DEFAULT_ALIAS:
        return request.model
    wanted = (active.content["config"].get("language_model") or {}).get("model_resource")
    alias = aliases.aliases.get(wanted) if isinstance(wanted, str) else None
    return wanted if alias is not None and alias.serves == "chat" and wanted is not None else request.model


def patient(alias: Alias, active: Activated) -> Alias:
    """The alias with the limits of time that the config names."""
    limits = (active.content["config"].get("timeouts") or {}).get("answer") or {}
    named = {TIMEOUTS[name]: seconds for name, seconds in limits.items() if name in TIMEOUTS}
    return alias.model_copy(update=named) if named else alias


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
