"""The events of a streamed answer as OpenAI sends them, in the order in which they are sent."""

from typing import NamedTuple

from sandbox.openai.planned_answer import Choice, Delta, Plan, logprobs_of
from sandbox.openai.wire import DONE, STREAM_ERROR, ChunkWriter


class Transcript(NamedTuple):
    """Whole SSE events: before the counted chunks, these, and after them; the error in their place, and the end."""

    opening: list[bytes]
    counted: list[bytes]
    closing: list[bytes]
    error: bytes = STREAM_ERROR
    done: bytes = DONE


def transcript(planned: Plan, model: str, *, with_usage: bool) -> Transcript:
    """The whole of an answer."""
    chunks = ChunkWriter(model, with_usage=with_usage)
    opened = {index for index, choice in enumerate(planned.choices) if not _begins_with_call(choice)}
    opening = [chunks.role(index) for index in sorted(opened)]
    counted = []
    for index, delta in planned.deltas():
        # The first delta of a choice that begins with a tool call also opens its role.
        first: Delta = {} if index in opened else {"role": "assistant", "content": None}
        opened.add(index)
        counted.append(_counted(chunks, planned.choices[index], index, {**first, **delta}))
    closing = [chunks.finish(index, choice.finish) for index, choice in enumerate(planned.choices)]
    if with_usage:
        closing.append(chunks.usage(planned.usage()))
    return Transcript(opening, counted, closing)


def _begins_with_call(choice: Choice) -> bool:
    return bool(choice.calls) and not choice.pieces and not choice.reasoning


def _counted(chunks: ChunkWriter, choice: Choice, index: int, delta: Delta) -> bytes:
    said = choice.logprobs and (delta.get("content") or delta.get("refusal"))
    if not said:
        return chunks.delta(index, delta)
    refused, entries = "refusal" in delta, logprobs_of([said])
    told = {"content": None if refused else entries, "refusal": entries if refused else None}
    return chunks.sure_delta(index, delta, told)
