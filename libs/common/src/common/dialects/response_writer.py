"""OpenAI's Responses API, the writing half: the chunks of a chat completion as the events of a response.

Every event has a name and a number. The numbers begin at 0 and leave none out, so a client can say where it stopped.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from common.dialects.reading import JsonObject, member

DONE = b"[DONE]"
# Why a response is incomplete, by how the choice ended; any other ending completes it.
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
# Names under which servers send how a model came to what it says.
REASONING = ("reasoning_content", "reasoning")


class NamedEvent(NamedTuple):
    """A server-sent event: its name, and the JSON behind `data:`."""

    name: str
    data: bytes


class _Item:
    """One item of the output, while it grows: `kind` is message, reasoning or function_call."""

    def __init__(self, kind: str, index: int, head: JsonObject, part: str = "") -> None:
        self.kind = kind
        self.index = index
        self.head = head
        self.part = part  # the type of its one part
        self.texts: list[str] = []
        self.logprobs: list[JsonObject] = []

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def written(self, status: str) -> JsonObject:
        """The item as clients read it."""
        if self.kind == "function_call":
            return {**self.head, "arguments": self.text, "status": status}
        parts = [self.content_part()] if self.texts else []
        return {**self.head, "content": parts, "status": status}

    def content_part(self, *, empty: bool = False) -> JsonObject:
        """Its one part, or how that begins."""
        text = "" if empty else self.text
        if self.part == "refusal":
            return {"type": "refusal", "refusal": text}
        if self.part == "reasoning_text":
            return {"type": "reasoning_text", "text": text}
        logprobs = [] if empty else self.logprobs
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


class ResponseWriter:
    """Writes one response; `chat` is the chat request that was made of its request, `told` what that leaves out.

    The id of the response is that of the completion under its own prefix. Times are unix seconds.
    """

    def __init__(self, completion_id: str, created: int, chat: JsonObject, told: JsonObject) -> None:
        self._key = completion_id.removeprefix("chatcmpl-")
        self._created = created
        self._chat = chat
        self._told = told
        self._model: str = chat.get("model") or "default"
        self._items: list[_Item] = []
        self._open: _Item | None = None  # the message or the reasoning that goes on
        self._calls: dict[int, _Item] = {}
        self._number = 0
        self._finish_reason: str | None = None
        self._usage: JsonObject | None = None

    # -- a stream --------------------------------------------------------------------------------------------

    def chunk(self, payload: bytes) -> Iterator[NamedEvent]:
        """The events of one chunk of the completion, or of its end, `[DONE]`."""
        if payload == DONE:
            yield from self._end()
            return
        chunk: JsonObject = orjson.loads(payload)
        self._model = chunk.get("model") or self._model
        self._usage = chunk.get("usage") or self._usage
        yield from self._begin()
        for choice in chunk.get("choices") or ():
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            yield from self._said(choice.get("delta") or {}, choice)

    def failure(self, error: JsonObject) -> Iterator[NamedEvent]:
        """The end of a response that failed; `error` has OpenAI's four members.

        The second event has it in both places where clients look for one.
        """
        code = error.get("code") or error.get("type")
        failed = {"status": "failed", "error": {"code": code, "message": error.get("message")}}
        yield self._event("response.failed", response=self._response(failed, status="incomplete"))
        known = {name: error.get(name) for name in ("message", "code", "param")}
        yield self._event("error", **known, error=error)

    def _begin(self) -> Iterator[NamedEvent]:
        if self._number == 0:
            response = self._response({"status": "in_progress", "output": []})
            yield self._event("response.created", response=response)
            yield self._event("response.in_progress", response=response)

    def _said(self, delta: JsonObject, choice: JsonObject) -> Iterator[NamedEvent]:
        for name in REASONING:
            if isinstance(thought := delta.get(name), str) and thought:
                yield from self._add("reasoning", "reasoning_text", thought, [])
                break
        if isinstance(text := delta.get("content"), str) and text:
            yield from self._add("message", "output_text", text, member(choice, "logprobs", "content") or [])
        if isinstance(refusal := delta.get("refusal"), str) and refusal:
            yield from self._add("message", "refusal", refusal, [])
        for call in delta.get("tool_calls") or ():
            yield from self._add_call(call)

    def _add(self, kind: str, part: str, text: str, logprobs: list[JsonObject]) -> Iterator[NamedEvent]:
        item = self._open
        if item is None or item.part != part:
            yield from self._close()
            item = self._open = self._new(kind, {"role": "assistant"} if kind == "message" else {"summary": []}, part)
            yield self._of("response.output_item.added", item, item=item.written("in_progress"))
            begun = item.content_part(empty=True)
            yield self._of("response.content_part.added", item, content_index=0, part=begun)
        item.texts.append(text)
        item.logprobs += logprobs
        also = {"logprobs": logprobs} if part == "output_text" else {}
        yield self._of(f"response.{part}.delta", item, content_index=0, delta=text, **also)

    def _add_call(self, call: JsonObject) -> Iterator[NamedEvent]:
        number, function = call.get("index", 0), call.get("function") or {}
        item = self._calls.get(number)
        if item is None:
            yield from self._close()
            head = {"call_id": call.get("id"), "name": function.get("name")}
            item = self._calls[number] = self._new("function_call", head)
            yield self._of("response.output_item.added", item, item=item.written("in_progress"))
        if arguments := function.get("arguments"):
            yield self._argue(item, arguments)

    def _argue(self, item: _Item, arguments: str) -> NamedEvent:
        item.texts.append(arguments)
        return self._of("response.function_call_arguments.delta", item, delta=arguments)

    def _new(self, kind: str, head: JsonObject, part: str = "") -> _Item:
        index = len(self._items)
        prefix = {"message": "msg", "reasoning": "rs", "function_call": "fc"}[kind]
        item = _Item(kind, index, {"id": f"{prefix}_{self._key}_{index}", "type": kind, **head}, part)
        self._items.append(item)
        return item

    def _close(self) -> Iterator[NamedEvent]:
        """End the message or the reasoning that goes on."""
        item, self._open = self._open, None
        if item is None:
            return
        said = {"refusal": item.text} if item.part == "refusal" else {"text": item.text}
        also = {"logprobs": item.logprobs} if item.part == "output_text" else {}
        yield self._of(f"response.{item.part}.done", item, content_index=0, **said, **also)
        yield self._of("response.content_part.done", item, content_index=0, part=item.content_part())
        yield self._of("response.output_item.done", item, item=item.written(self._status(item)))

    def _end(self) -> Iterator[NamedEvent]:
        yield from self._begin()
        yield from self._close()
        for item in self._calls.values():
            if not item.texts:
                # A call without arguments has an empty object of them.
                yield self._argue(item, "{}")
            written = item.written(self._status(item))
            done = {"name": written["name"], "arguments": written["arguments"]}
            yield self._of("response.function_call_arguments.done", item, **done)
            yield self._of("response.output_item.done", item, item=written)
        ended = self._ended()
        yield self._event(f"response.{ended['status']}", response=self._response(ended))

    def _status(self, item: _Item) -> str:
        """Whether an item is whole: the last one of an incomplete response is not."""
        cut = self._finish_reason in INCOMPLETE and item is self._items[-1]
        return "incomplete" if cut else "completed"

    def _of(self, name: str, of: _Item, /, **said: Any) -> NamedEvent:
        own = {"output_index": of.index} if "item" in said else {"item_id": of.head["id"], "output_index": of.index}
        return self._event(name, **own, **said)

    def _event(self, name: str, /, **said: Any) -> NamedEvent:
        event = {"type": name, "sequence_number": self._number, **said}
        self._number += 1
        return NamedEvent(name, orjson.dumps(event))

    # -- a response in one piece -------------------------------------------------------------------------------

    def whole(self, body: bytes) -> bytes:
        """A chat completion as a response."""
        completion: JsonObject = orjson.loads(body)
        self._model = completion.get("model") or self._model
        self._usage = completion.get("usage")
        choice: JsonObject = (completion.get("choices") or [{}])[0]
        self._finish_reason = choice.get("finish_reason")
        message = choice.get("message") or {}
        calls = [{**call, "index": at} for at, call in enumerate(message.get("tool_calls") or ())]
        # The same items as of a stream; its events go nowhere.
        for _ in self._said({**message, "tool_calls": calls}, choice):
            pass
        return orjson.dumps(self._response(self._ended()))

    # -- the response itself -------------------------------------------------------------------------------------

    def _ended(self) -> JsonObject:
        why = INCOMPLETE.get(self._finish_reason or "")
        ended = {"status": "completed", "completed_at": self._created, "usage": _usage(self._usage)}
        return {**ended, "status": "incomplete", "incomplete_details": {"reason": why}} if why else ended

    def _response(self, changed: JsonObject, status: str | None = None) -> JsonObject:
        chat, told = self._chat, self._told
        output = [] if "output" in changed else [item.written(status or self._status(item)) for item in self._items]
        response = {
            "id": f"resp_{self._key}",
            "object": "response",
            "created_at": self._created,
            "status": "completed",
            "background": False,
            "conversation": told.get("conversation") and {"id": told["conversation"]},
            "error": None,
            "incomplete_details": None,
            "instructions": chat["messages"][0]["content"] if told.get("instructions") else None,
            "max_output_tokens": chat.get("max_completion_tokens"),
            "metadata": told.get("metadata") or {},
            "model": self._model,
            "output": output,
            "parallel_tool_calls": chat.get("parallel_tool_calls", True),
            "previous_response_id": told.get("previous_response_id"),
            "reasoning": {"effort": None, "summary": None, **(told.get("reasoning") or {})},
            "service_tier": chat.get("service_tier", "default"),
            "store": told.get("store", False),
            "temperature": chat.get("temperature", 1.0),
            "text": {"format": _format(chat.get("response_format"))},
            "tool_choice": _tool_choice(chat.get("tool_choice", "auto")),
            "tools": [{"type": "function", **tool["function"]} for tool in chat.get("tools") or ()],
            "top_p": chat.get("top_p", 1.0),
            "truncation": told.get("truncation", "disabled"),
            "usage": None,
            "user": chat.get("user"),
            **changed,
        }
        return {**response, "models": {"prosody": {"scores": told["scores"]}}} if "scores" in told else response


def _usage(usage: JsonObject | None) -> JsonObject | None:
    if usage is None:
        return None
    read, written = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    return {
        "input_tokens": usage.get("prompt_tokens", 0),
        "input_tokens_details": {name: member(read, name) or 0 for name in ("cached_tokens", "cache_write_tokens")},
        "output_tokens": usage.get("completion_tokens", 0),
        "output_tokens_details": {"reasoning_tokens": member(written, "reasoning_tokens") or 0},
        "total_tokens": usage.get("total_tokens", 0),
    }


def _format(response_format: JsonObject | None) -> JsonObject:
    """The format of the text, as the request had it."""
    if response_format is None:
        return {"type": "text"}
    return {"type": response_format["type"], **response_format.get("json_schema", {})}


def _tool_choice(choice: Any) -> Any:
    return {"type": "function", **choice["function"]} if isinstance(choice, dict) else choice
