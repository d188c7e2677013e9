"""A request whose deadline has passed before it was read: one fact, no upstream, and its body is not parsed."""

import time
import uuid
from dataclasses import replace

from common.events.chat import CHAT_REPLY_REQUESTED, ChatReplyRequested
from common.events.envelope import Event
from tests.support.llm_stream import World
from tests.support.waiting import eventually


def overdue(world: World, model: str) -> Event[ChatReplyRequested]:
    now = time.time()
    request_id = f"chatcmpl-{uuid.uuid4().hex}"
    payload = ChatReplyRequested(
        request_id=request_id,
        org_id="org-1",
        key_id="key-1",
        session_id='a,"body":"session',
        model=model,
        stream=True,
        received_at=now - 120,
        body={"messages": [{"role": "user", "content": "hello"}], "body": {"resume_grace": 1}},
    )
    return Event(CHAT_REPLY_REQUESTED, payload, deadline=now - 60, reply_to=world.reader.mailbox, request_id=request_id)


async def test_an_overdue_request_ends_as_late_and_asks_nobody(llm_world: World) -> None:
    alias = await llm_world.alias("")
    event = overdue(llm_world, alias.name)
    with llm_world.reader.waiting(event.payload.request_id):
        await llm_world.log.publish(event.record())
        fact = await llm_world.fact(event.payload.request_id)
    assert (fact.error.status, fact.session_id, fact.model) == (504, event.payload.session_id, alias.name)
    assert await llm_world.calls(alias.models[0]) == []


async def test_the_body_of_an_overdue_request_is_not_parsed(llm_world: World) -> None:
    """What would be no JSON is no obstacle: nobody looked."""
    alias = await llm_world.alias("")
    event = overdue(llm_world, alias.name)
    record = event.record()
    broken = replace(record, value=record.value[:-2] + b" ,,, this was never read")
    unreadable = await llm_world.metric("sonant_events_unreadable_total", 'topic="chat-requests"')
    await llm_world.log.publish(broken)
    assert (await llm_world.fact(event.payload.request_id)).error.status == 504
    assert await llm_world.metric("sonant_events_unreadable_total", 'topic="chat-requests"') == unreadable


async def test_a_record_written_before_the_body_came_last_is_read_whole(llm_world: World) -> None:
    """An older release wrote the body in the middle."""
    alias = await llm_world.alias("")
    event = overdue(llm_world, alias.name)
    record = event.record()
    body = record.value[record.value.index(b',"body":') :][:-1]
    older = record.value.replace(body, b"").replace(b',"received_at"', body + b',"received_at"')
    await llm_world.log.publish(replace(record, value=older))
    await eventually(lambda: llm_world.facts(event.payload.request_id))
    assert (await llm_world.fact(event.payload.request_id)).error.status == 504
