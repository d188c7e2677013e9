"""What a dialect is: its words for each problem, what its template refuses, and the shape of its answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, NamedTuple, TypeAlias

import orjson

from sandbox.openai.errors import ApiError
from sandbox.openai.planned_answer import OWN_SHAPE, Choice, Delta, DeltaShape, Plan, logprobs_of
from sandbox.openai.transcript import Transcript

Json: TypeAlias = dict[str, Any]
DONE = b"[DONE]"


class Problem(Enum):
    """Why there is no answer."""

    TOO_LONG = auto()
    NO_MODEL = auto()
    BAD_PARAMETER = auto()
    BAD_MESSAGES = auto()  # what the chat template or the order of roles refuses
    KEY = auto()
    RATE_LIMIT = auto()
    OVERLOADED = auto()
    FILTERED = auto()
    FAILED = auto()


class Wording(NamedTuple):
    """How a problem is told. The message may name {said} (what OpenAI would say), {model}, {limit} and {used}."""

    status: int
    message: str
    type: str | None = None
    code: str | int | None = None
    bare: Json | None = None  # the whole body, where this one is not in the usual envelope


class Told(NamedTuple):
    """A problem about to be told."""

    wording: Wording
    message: str
    param: str | None
    numbers: Mapping[str, int]


class BadMessages(ApiError):
    """The conversation does not fit the chat template; the message says why."""

    def __init__(self, message: str) -> None:
        super().__init__(400, message)


class TranslatedError(ApiError):
    """An error in the words of a dialect."""

    def __init__(self, original: ApiError, status: int, content: bytes, content_type: str) -> None:
        super().__init__(status, original.message, headers=original.headers)
        self._content = content
        self.content_type = content_type

    def body(self) -> bytes:
        return self._content


class Answer(NamedTuple):
    """An answer about to be put; `created` is unix seconds."""

    planned: Plan
    model: str
    id: str
    created: int
    with_usage: bool

    def usage(self) -> Json:
        """The counts alone, which is all that most servers report."""
        usage = self.planned.usage()
        return {name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamShape:
    """The chunks of a stream. A function of None where a server sends nothing of the kind."""

    head: Callable[[Answer], Json]
    choice: Callable[[int, Delta, str | None], Json]  # with index, delta and finish reason
    deltas: DeltaShape = OWN_SHAPE
    preamble: tuple[Json, ...] = ()  # whole chunks before everything
    role: Delta | None = field(default_factory=lambda: {"role": "assistant", "content": ""})
    end: Delta = field(default_factory=dict)  # the delta of the chunk that tells the finish reason
    before_end: Json | None = None  # a choice that says nothing
    choices_first: bool = False  # the order of a chunk's members
    usage_with_end: bool = False  # in the finish chunk, wanted or not
    usage_extra: Json = field(default_factory=dict)  # beside the usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One server's way of speaking; everything in it is pure."""

    name: str
    wordings: Mapping[Problem, Wording]
    envelope: Callable[[Told], Any]
    check: Callable[[Json], None]  # raises BadMessages, or ApiError for a parameter
    shape: StreamShape
    whole: Callable[[Answer], Json]
    # What is found out only once the stream is open, and is told in it under status 200.
    found_late: frozenset[Problem] = frozenset()
    stream_envelope: Callable[[Told], Any] = lambda told: {"error": {"message": told.message}}

    def translated(self, error: ApiError, model: str, *, streaming: bool) -> TranslatedError:
        """The error as this server tells it."""
        problem = problem_of(error)
        told = self._told(problem, error, model)
        if streaming and problem in self.found_late:
            content = _event(self.stream_envelope(told)) + _event(DONE)
            return TranslatedError(error, 200, content, "text/event-stream")
        content = orjson.dumps(told.wording.bare or self.envelope(told))
        return TranslatedError(error, told.wording.status, content, "application/json")

    def _told(self, problem: Problem, error: ApiError, model: str) -> Told:
        wording = self.wordings.get(problem) or Wording(error.status, "{said}", error.type, error.status)
        names = {"said": error.message, "model": model, "limit": 0, "used": 0, **error.numbers}
        return Told(wording, wording.message.format(**names), error.param, error.numbers)

    def transcript(self, answer: Answer) -> Transcript:
        """The events of a stream."""
        shape, choices = self.shape, answer.planned.choices
        opening = list(shape.preamble)
        if shape.role is not None:
            opening += [self._chunk(answer, shape.choice(index, shape.role, None)) for index in range(len(choices))]
        counted = [
            self._chunk(answer, self._counted(choices[index], index, delta))
            for index, delta in answer.planned.deltas(shape.deltas)
        ]
        failed = self._told(Problem.FAILED, ApiError(500, "The answer broke off."), answer.model)
        return Transcript(
            [_event(each) for each in opening],
            [_event(each) for each in counted],
            [_event(each) for each in self._closing(answer)],
            _event(self.stream_envelope(failed)),
            _event(DONE),
        )

    def _counted(self, choice: Choice, index: int, delta: Delta) -> Json:
        put = self.shape.choice(index, delta, None)
        if choice.logprobs and (said := delta.get("content")):
            put["logprobs"] = {"content": logprobs_of([said])}
        return put

    def _closing(self, answer: Answer) -> list[Json]:
        shape, closing = self.shape, []
        for index, choice in enumerate(answer.planned.choices):
            if shape.before_end is not None:
                closing.append(self._chunk(answer, {**shape.before_end, "index": index}))
            closing.append(self._chunk(answer, shape.choice(index, shape.end, choice.finish)))
        if shape.usage_with_end:
            closing[-1]["usage"] = answer.usage()
        elif answer.with_usage:
            closing.append({**self._chunk(answer), "usage": answer.usage(), **shape.usage_extra})
        return closing

    def _chunk(self, answer: Answer, *choices: Json) -> Json:
        head = self.shape.head(answer)
        return {"choices": list(choices), **head} if self.shape.choices_first else {**head, "choices": list(choices)}

    def body(self, answer: Answer) -> bytes:
        """The answer that is not streamed."""
        return orjson.dumps(self.whole(answer))


def _event(payload: Any) -> bytes:
    data = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    return b"data: " + data + b"\n\n"


def problem_of(error: ApiError) -> Problem:
    """What kind of problem an error is, by what OpenAI says about it."""
    if isinstance(error, BadMessages):
        return Problem.BAD_MESSAGES
    by_code = {
        "context_length_exceeded": Problem.TOO_LONG,
        "model_not_found": Problem.NO_MODEL,
        "content_filter": Problem.FILTERED,
    }
    if error.code in by_code:
        return by_code[error.code]
    by_status = {401: Problem.KEY, 403: Problem.KEY, 429: Problem.RATE_LIMIT, 503: Problem.OVERLOADED}
    return by_status.get(error.status) or (Problem.FAILED if error.status >= 500 else Problem.BAD_PARAMETER)


def completion_choices(answer: Answer, message: Callable[[Choice], Json], **members: Any) -> list[Json]:
    """The choices of an answer that is not streamed, each with `members` beside what every server puts there."""
    return [
        {"index": index, "message": message(choice), "finish_reason": choice.finish, **members}
        for index, choice in enumerate(answer.planned.choices)
    ]
