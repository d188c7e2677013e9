"""From upstream chunks to the client's: the least rewriting that correctness allows.

Replaced are the completion id and the creation time; the upstream's `system_fingerprint` is left out, since a voice
platform would take it for a session id. The finish chunk is held until the upstream has really ended, so a stream that
breaks is never passed off as complete. Where a fallback could go on from a sentence, text is held back to its end, and
so are tool calls, which nobody can take back; everything else leaves when it comes, behind the text before it.
"""

import time
from collections.abc import Collection, Iterable
from contextlib import nullcontext
from itertools import chain
from typing import Any

import orjson

from common.events.chat import Usage
from llm_stream.answer.attempt import Attempt
from llm_stream.answer.held import HeldText, Piece, split_logprobs
from llm_stream.answer.in_progress import AnswerInProgress
from llm_stream.answer.minimum_rate import MinimumRate
from llm_stream.answer.outlet import Outlet
from llm_stream.answer.sentences import SkipPrefix
from llm_stream.answer.template import Template
from llm_stream.ports import Said, UpstreamAnswer, UpstreamBroken
from llm_stream.tools.gathered import called_in, gathered, without_calls, without_end
from llm_stream.tools.tool import Call
from llm_stream.upstream.chunks import CHOICE_MEMBERS, Choice, parse_chunk, plain_choice, read_chunk, said_characters
from llm_stream.upstream.reported_usage import ReportedUsage, read_usage
from llm_stream.upstream.tool_calls import ToolCallPieces
from llm_stream.upstream.values import JsonObject, name

DONE = b"[DONE]"
# Looked up once: every chunk says one of them.
NOTHING, SOMETHING, LAST, ALL = Said.NOTHING, Said.SOMETHING, Said.LAST, Said.ALL
# What every chunk has beside its choices. All else in one without choices is told with the next one that is sent: Azure
# tells first what its filter found, and llama.cpp last how long it took.
CHUNK_MEMBERS = frozenset({"id", "object", "created", "model", "system_fingerprint", "service_tier", "obfuscation"})
# Once one of these has begun, a choice waits for its end: an answer that begins anew must not repeat them.
CALLS = frozenset({"tool_calls", "function_call"})
# What nobody can go on with. Reasoning is no such thing: that of two attempts may follow one another.
SPOKEN_FOR_GOOD = frozenset({"refusal", "audio"})
# Of a stream whose chunks differ in more than their text nothing is learnt, however long it is.
MAX_LESSONS = 3
NO_RATE = nullcontext()


class Relay:
    """Carries one attempt's stream into the client's answer. Nothing is sent before there is something to say."""

    def __init__(self, attempt: Attempt, frames: Outlet) -> None:
        prepared = attempt.prepared
        released = frames.released_text
        self._frames = frames
        self._request = prepared.request
        self._choices = prepared.choices
        self._include_usage = prepared.wants_usage
        # A continuation is always compared with what was released, whoever continues.
        self._hold = prepared.alias.holds_sentences or bool(released)
        # Calls of tools that are run here are not the client's.
        self._hold_calls = self._hold or prepared.tools is not None
        frames.backlog.needs_texts |= prepared.tools is not None
        self._skip = SkipPrefix(released)
        self._held: dict[int, HeldText] = {}
        self._tail: list[JsonObject] = []
        self._waiting: set[int] = set()  # choices of which everything goes to the tail
        self._head: JsonObject = {}  # of the last chunk
        self._aside: JsonObject = {}  # told by chunks without choices, to be sent with the next one
        self._extras: dict[int, JsonObject] = {}  # likewise, by choices that say nothing themselves
        self._calls = ToolCallPieces()
        self._sent_calls: list[JsonObject] = []  # pieces of calls that the client has
        self._opened: set[int] = {0} if frames.begun else set()
        self._finished: set[int] = set()
        self._template: Template | None = None
        self._lessons = MAX_LESSONS
        self.attempt = attempt
        self.ended = False
        self.model = attempt.upstream.model
        self.usage: ReportedUsage | None = None
        self.finish_reason: str | None = None

    def take(self, payload: bytes) -> Said:
        """One `data:` payload; what it says. White space is sent, and says nothing.

        Raises UpstreamError on what is no part of an answer.
        """
        if self.ended or payload == DONE:
            self.ended = True
            return ALL
        if self._template is not None and (plain := self._template.fill(payload)) is not None:
            sent, text = plain
            attempt = self.attempt
            attempt.tokens += 1
            attempt.characters += len(text)
            self._frames.emit(sent, tokens=1, text=text)
            return NOTHING if text.isspace() else SOMETHING
        said = self._take(payload)
        return ALL if self.ended else said

    def _take(self, payload: bytes) -> Said:
        """A payload that the template does not fit."""
        if self.attempt.first_byte_at is None:
            self.attempt.first_byte_at = time.time()
        chunk = parse_chunk(payload)
        choice = plain_choice(chunk)
        if choice is None or choice["index"] in self._waiting:
            return self._take_any(chunk)
        if not self._hold:
            text = choice["delta"]["content"]
            self._pass_on(payload, chunk, choice)
        elif choice.keys() <= CHOICE_MEMBERS and not choice.get("logprobs"):
            text = choice["delta"]["content"]
            self._hold_plain(chunk, choice)
        else:
            return self._take_any(chunk)
        return NOTHING if text.isspace() else SOMETHING

    # -- plain chunks: text and nothing else -----------------------------------------------------------------

    def _pass_on(self, payload: bytes, chunk: JsonObject, choice: JsonObject) -> None:
        self._note_plain(chunk, choice)
        alone, delta = not self._aside, choice["delta"]
        sent = self._emit(chunk, delta["content"], tokens=1)
        if self._lessons > 0 and alone:
            self._lessons -= 1
            if choice["delta"] is not delta:
                # The first of a choice was given its role, which those behind it are not.
                choice["delta"] = delta
                sent = orjson.dumps(chunk)
            self._template = Template.learn(payload, sent)

    def _hold_plain(self, chunk: JsonObject, choice: JsonObject) -> None:
        self._note_plain(chunk, choice)
        del chunk["choices"]
        self._head = chunk
        index = choice["index"]
        held = self._held.get(index) or self._held.setdefault(index, HeldText())
        held.add(self._skip.feed(choice["delta"]["content"]))
        self._release(index, held.whole_sentences())

    def _note_plain(self, chunk: JsonObject, choice: JsonObject) -> None:
        self.attempt.tokens += 1
        self.attempt.characters += len(choice["delta"]["content"])
        self.model = chunk["model"]
        if "usage" in chunk and (usage := read_usage(chunk.pop("usage"))) is not None:
            self.usage = usage

    # -- chunks of every other shape --------------------------------------------------------------------------

    def _take_any(self, content: JsonObject) -> Said:
        chunk = read_chunk(content, self._calls)
        self.model = chunk.model or self.model
        self.usage = chunk.usage or self.usage
        if not chunk.choices:
            if "choices" in content:
                self._aside |= {key: value for key, value in chunk.head.items() if value and key not in CHUNK_MEMBERS}
            return NOTHING
        self._head = {"model": self.model, **chunk.head}
        choices = [self._noted(choice) for choice in chunk.choices]
        for choice in choices:
            if choice.number in self._waiting or (self._hold_calls and not choice.beside.keys().isdisjoint(CALLS)):
                self._wait_for_end(choice)
            elif self._hold:
                self._hold_back(choice)
            elif choice.finish_reason is not None:
                self._wait_for_end(choice)
            elif choice.says_something:
                self._send(choice, tokens=1)
            elif choice.extras:
                self._keep_extras(choice)
        if chunk.whole:
            # A server that does not stream has said everything.
            self.ended = True
        if any(choice.finish_reason is not None for choice in choices) and self.heard_all:
            return LAST
        return SOMETHING if any(map(_is_alive, choices)) else NOTHING

    def _keep_extras(self, choice: Choice) -> None:
        """Of a choice that says nothing itself, such as what Azure's filter finds while the answer goes on."""
        self._extras[choice.number] = {**self._extras.get(choice.number, {}), **choice.extras}

    def _noted(self, choice: Choice) -> Choice:
        """The choice, its end counted; an end that was told before is not told again."""
        self.attempt.tokens += choice.says_something
        self.attempt.characters += len(choice.content)
        if choice.beside:
            self.attempt.characters += said_characters(choice.beside)
        if choice.finish_reason is None:
            return choice
        if choice.number in self._finished:
            return choice._replace(finish_reason=None)
        self._finished.add(choice.number)
        self.finish_reason = choice.finish_reason
        return choice

    def _hold_back(self, choice: Choice) -> None:
        """Hold text back, and let everything else go."""
        index = choice.number
        held = self._held.get(index) or self._held.setdefault(index, HeldText())
        said = choice._replace(finish_reason=None)
        if choice.content:
            text = self._skip.feed(choice.content)
            if choice.beside or choice.extras or choice.logprobs:
                self._hold_accompanied(held, text, said)
            else:
                held.add(text)
            self._release(index, held.whole_sentences())
        elif choice.says_something:
            self._release(index, held.rest())
            self._send(said, tokens=1)
        elif choice.extras and choice.finish_reason is None:
            self._keep_extras(choice)
        if choice.finish_reason is not None:
            self._wait_for_end(choice._replace(content="", beside={}, logprobs=None))

    @staticmethod
    def _hold_accompanied(held: HeldText, text: str, said: Choice) -> None:
        """Hold what is new of a delta with what came beside it, and what is told about the tokens of just that."""
        content = said.content
        if len(text) > len(content) and text.endswith(content):
            held.add(text[: -len(content)])
            text = content
        elif len(text) < len(content) and content.endswith(text):
            said = said._replace(logprobs=split_logprobs(said.logprobs, len(content) - len(text))[1])
        held.add(text, said)

    def _wait_for_end(self, choice: Choice) -> None:
        """From here on this choice is sent when the upstream has really ended, in the order in which it came."""
        index = choice.number
        if index not in self._waiting:
            self._waiting.add(index)
            # A chunk of the template's shape would overtake what waits.
            self._template, self._lessons = None, 0
            if index in self._held and choice.says_something:
                self._release(index, self._held[index].rest())
        if choice.says_something or choice.finish_reason is not None:
            self._tail.append(self._written(choice))

    def _release(self, index: int, pieces: Iterable[Piece]) -> None:
        for text, tokens, beside in pieces:
            if beside is None:
                delta = {"content": text}
                choice = {"index": index, "delta": delta, "finish_reason": None, "logprobs": None}
                self._emit({**self._head, "choices": [choice]}, text, tokens=tokens)
            else:
                self._send(beside._replace(content=text), tokens=tokens)

    def _send(self, choice: Choice, *, tokens: int) -> None:
        if not choice.beside.keys().isdisjoint(SPOKEN_FOR_GOOD):
            self._frames.said_for_good()
        self._sent_calls += choice.beside.get("tool_calls") or ()
        self._emit(self._written(choice), choice.content, tokens=tokens)

    def _written(self, choice: Choice) -> JsonObject:
        delta = {"content": choice.content, **choice.beside} if choice.content else choice.beside
        written = {
            "index": choice.number,
            "delta": delta,
            "finish_reason": choice.finish_reason,
            "logprobs": choice.logprobs,
            **choice.extras,
        }
        if self._extras and (kept := self._extras.pop(choice.number, None)):
            written = {**kept, **written}
        return {**self._head, "choices": [written]}

    # -- out ------------------------------------------------------------------------------------------------

    def _emit(self, chunk: JsonObject, text: str, *, tokens: int) -> bytes:
        """Send a chunk as ours; returns it as it is sent."""
        request = self._request
        chunk["id"] = request.request_id
        chunk["object"] = "chat.completion.chunk"
        chunk["created"] = int(request.received_at)
        chunk.pop("system_fingerprint", None)
        if self._include_usage:
            chunk["usage"] = None
        self._frames.start(self.attempt.provider_headers)
        for choice in chunk["choices"]:
            if choice["index"] not in self._opened:
                self._open(chunk, choice)
        # Behind the roles, or what stands beside the choices would be told twice.
        if self._aside:
            chunk.update(self._aside)
            self._aside = {}
        sent = orjson.dumps(chunk)
        self._frames.emit(sent, tokens=tokens, text=text)
        return sent

    def _open(self, chunk: JsonObject, choice: JsonObject) -> None:
        """Tell the role of a choice with its first chunk: Node's client cannot finalise a message without one."""
        self._opened.add(choice["index"])
        role = {"role": "assistant"}
        if not choice.get("logprobs"):
            choice["delta"] = {**role, **choice["delta"]}
            return
        # That client adds the logprobs of a choice's first chunk twice: it gets one without, as from OpenAI.
        empty = {"index": choice["index"], "delta": {**role, "content": ""}, "finish_reason": None, "logprobs": None}
        self._frames.emit(orjson.dumps({**chunk, "choices": [empty]}))

    def finish(self, usage: Usage) -> None:
        """The stream is whole: send what was held, the finish chunk, usage if wanted, and `[DONE]`.

        The usage is told as the upstream reported it, and as `usage` where it reported none.
        """
        self._frames.delivery.defer()
        self._send_rest()
        self.model = name(self.model) or self.attempt.upstream.model
        if self._include_usage:
            last = {"id": self._request.request_id, "object": "chat.completion.chunk", "model": self.model}
            counts: Any = usage.model_dump(exclude={"estimated"})
            if self.usage is not None:
                counts = self.usage.told(usage.prompt_tokens, usage.completion_tokens)
            created = int(self._request.received_at)
            self._frames.emit(orjson.dumps({**last, "created": created, "choices": [], "usage": counts}))
        self._frames.emit(DONE)

    def _send_rest(self) -> None:
        if rest := self._skip.finish():
            self._held.setdefault(0, HeldText()).add(rest)
        for index, held in self._held.items():
            self._release(index, held.rest())
        for chunk in self._tail:
            said = chunk["choices"][0]["delta"]
            self._emit(chunk, said.get("content", ""), tokens=1 if said else 0)

    # -- calls of tools that are run here ---------------------------------------------------------------------

    def calls(self) -> list[Call]:
        """What the answer calls for."""
        return called_in(self._tail)

    def calls_of_client(self) -> list[Call]:
        """What of it the client is to call, those among them whose pieces were sent as they came."""
        held = (chunk["choices"][0]["delta"].get("tool_calls") or () for chunk in self._tail)
        return gathered([*self._sent_calls, *chain.from_iterable(held)])

    def drop_calls(self, indexes: Collection[int]) -> None:
        """Have it end without these calls."""
        self._tail = without_calls(self._tail, indexes)

    def plain_text(self) -> str | None:
        """Its text, where this attempt alone said it and nothing else; reasoning and calls count as characters too."""
        text = self._frames.released_text
        return text if self._choices == 1 and self.attempt.characters == len(text) else None

    def end_round(self) -> str:
        """Send what was said beside the calls, and nothing that ends the answer; returns all that was said."""
        self._tail = without_end(self._tail)
        self._send_rest()
        return self._frames.released_text

    @property
    def heard_all(self) -> bool:
        """Whether every choice has ended; only the usage can follow."""
        return len(self._finished) >= self._choices

    def check_whole(self) -> None:
        """Raises UpstreamBroken unless every choice finished; the body has ended cleanly, with `[DONE]` or not.

        One that was asked for several and says with `[DONE]` that fewer are all, as servers do that do not know `n`,
        has answered.
        """
        begun = {0} | self._opened | self._held.keys() | self._waiting
        if not (self.heard_all or (self.ended and self._finished.issuperset(begun))):
            raise UpstreamBroken("the stream ended before the answer did")


def _is_alive(choice: Choice) -> bool:
    """Whether a choice says more than white space, or that it has ended."""
    text_alone = not (choice.beside or choice.logprobs)
    return choice.finish_reason is not None or (choice.says_something and not (text_alone and choice.content.isspace()))


async def relay(incoming: UpstreamAnswer, attempt: Attempt, answer: AnswerInProgress) -> Relay | None:
    """Carry an upstream's stream into the answer, all but its end; None where another instance answers.

    Raises UpstreamError.
    """
    carried = Relay(attempt, answer.frames)
    if not await answer.is_ours():
        return None
    try:
        with MinimumRate(attempt, incoming) if attempt.patience.minimum_rate > 0 else NO_RATE:
            await incoming.relay(carried.take)
    except UpstreamBroken as broken:
        # Its connection may have been closed by whoever ended the answer.
        answer.frames.check()
        # A server that has said all and does not hang up has cut nothing.
        if not (broken.silent and carried.heard_all):
            raise
    carried.check_whole()
    await answer.frames.backlog.caught_up()
    return carried
