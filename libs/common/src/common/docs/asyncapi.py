"""The AsyncAPI 3.0 document: topics as channels, events as messages, who sends them, and what comes back over LIVE."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from common.bus.live.signals import SIGNALS as SIGNALS_STREAM
from common.docs.schemas import label
from common.docs.topics import carried, describe_key
from common.events.chat import AnswerEnd, AnswerStart
from common.events.flows import FLOWS, Flow
from common.events.registry import EVENTS, SIGNALS, topics
from common.events.spec import EventSpec, RequestSpec, SignalSpec, Topic

# Of the contract, not of the code: rises when an event or a topic is added.
CONTRACT_VERSION = "1.1.0"
KAFKA_BINDING = "0.5.0"

ENVELOPE: dict[str, Any] = {
    "type": "object",
    "required": ["event-id", "event-type", "event-time"],
    "properties": {
        "event-id": {"type": "string", "description": "Unique; effects happen once per id."},
        "event-type": {"type": "string", "description": "Type and major version: `chat.reply.completed/1`."},
        "event-time": {"type": "string", "description": "When it was made, unix seconds as a decimal number."},
        "deadline": {"type": "string", "description": "Unix seconds after which nobody waits for the outcome."},
        "traceparent": {"type": "string", "description": "W3C trace context."},
        "reply-to": {"type": "string", "description": "The live stream of the gateway instance that waits."},
        "request-id": {"type": "string", "description": "The request the answer belongs to."},
        "correlation-id": {
            "type": "string",
            "description": "The `x-request-id` of the HTTP request that led to it; log lines show it.",
        },
    },
}

PASSPORT: dict[str, Any] = {
    "type": "object",
    "description": "What a dead letter carries beside its own headers.",
    "properties": {
        "dlq-topic": {"type": "string", "description": "The topic it was read from."},
        "dlq-partition": {"type": "string", "description": "The partition it was read from."},
        "dlq-offset": {"type": "string", "description": "Its offset there."},
        "dlq-handler": {"type": "string", "description": "The handler that gave up."},
        "dlq-error": {"type": "string", "description": "The class of the last error."},
        "dlq-message": {"type": "string", "description": "Its message, at most 500 characters."},
        "dlq-attempts": {"type": "string", "description": "How often it was tried."},
        "dlq-first-failure": {"type": "string", "description": "Unix seconds."},
        "dlq-last-failure": {"type": "string", "description": "Unix seconds."},
    },
}

# The live channel: one stream for each process that waits, and one for the signals to all.
MAILBOX = "live.mailbox"
SIGNAL_CHANNEL = "live.signals"
FRAMES: dict[str, tuple[type[BaseModel], str]] = {
    "answer.start": (AnswerStart, "The first frame of an answer."),
    "answer.end": (AnswerEnd, "The last frame of an answer: how it ended."),
}

Json = dict[str, Any]

ENVELOPES = {"Envelope": ENVELOPE, "Passport": PASSPORT}


def document() -> Json:
    """The whole document, ready for JSON; the same on every machine."""
    references, definitions = _schemas()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Sonant events",
            "version": CONTRACT_VERSION,
            "description": "What travels on the log, and what comes back over the live channel. Payloads evolve by "
            "optional fields; readers ignore unknown ones.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {**{topic.name: _channel(topic) for topic in topics()}, **_live_channels()},
        "operations": {
            **{f"{_action(spec)}.{label(spec)}": _operation(spec) for spec in EVENTS},
            **{f"signal.{spec.kind}": _signal_operation(spec) for spec in SIGNALS},
        },
        "components": {
            "messages": {**_messages(references), **_live_messages(references)},
            "schemas": {**ENVELOPES, **definitions},
        },
        "x-flows": [_flow(flow) for flow in FLOWS],
    }


def _flow(flow: Flow) -> Json:
    """A flow: the steps that `media.job.progressed` tells of in jobs of its kind, each with those that it waits for."""
    waits: dict[str, list[str]] = {name: [] for name in flow.names}
    for before, name in flow.edges():
        waits[name].append(before)
    steps = [{"name": step.name, "makes": step.makes, "after": waits[step.name]} for step in flow.steps]
    return {"kind": flow.kind, "title": flow.title, "steps": steps}


def _requests() -> list[RequestSpec[Any, Any]]:
    return [spec for spec in EVENTS if isinstance(spec, RequestSpec)]


def _schemas() -> tuple[dict[type[BaseModel], Json], Json]:
    """A reference per model, and the definitions they point to. A reply is described as it is written."""
    payloads: list[type[BaseModel]] = [*(spec.payload for spec in EVENTS), *(spec.payload for spec in SIGNALS)]
    replies = [model for model, _ in _reply_names().values()]
    written: list[type[BaseModel]] = [*replies, *(model for model, _ in FRAMES.values())]
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in payloads]
    wanted += [(model, "serialization") for model in written]
    references, definitions = models_json_schema(
        list(dict.fromkeys(wanted)), ref_template="#/components/schemas/{model}"
    )
    return {model: references[model, mode] for model, mode in wanted}, definitions["$defs"]


def _channel(topic: Topic) -> Json:
    specs = carried(topic)
    names = ", ".join(spec.type for spec in specs)
    return {
        "address": topic.name,
        "description": f"{'Parks' if topic.is_dead_letters else 'Carries'} {names}.",
        "messages": {label(spec): {"$ref": f"#/components/messages/{_message_name(spec, topic)}"} for spec in specs},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {"retention.ms": int(topic.retention.total_seconds() * 1000)},
                "bindingVersion": KAFKA_BINDING,
            }
        },
    }


def _message_name(spec: EventSpec[Any], topic: Topic) -> str:
    return f"{label(spec)}.parked" if topic.is_dead_letters else label(spec)


def _messages(references: dict[type[BaseModel], Json]) -> Json:
    """Each event as published and, where it may be parked, as a dead letter."""
    return {
        _message_name(spec, topic): _message(spec, references[spec.payload], topic)
        for topic in topics()
        for spec in carried(topic)
    }


def _message(spec: EventSpec[Any], payload: Json, topic: Topic) -> Json:
    envelopes = list(ENVELOPES) if topic.is_dead_letters else ["Envelope"]
    headers = [{"$ref": f"#/components/schemas/{name}"} for name in envelopes]
    own_type = {"type": "object", "properties": {"event-type": {"const": spec.name}}}
    key = {"type": "string", "description": f"`{describe_key(spec)}`"}
    return {
        "name": spec.type,
        "title": spec.name,
        "summary": spec.summary,
        "contentType": "application/json",
        "headers": {"allOf": [*headers, own_type]},
        "payload": payload,
        "bindings": {"kafka": {"key": key, "bindingVersion": KAFKA_BINDING}},
    }


def _action(spec: EventSpec[Any]) -> str:
    """Requests are what Sonant receives, facts are what it sends."""
    return "receive" if spec.type.endswith(".requested") else "send"


def _operation(spec: EventSpec[Any]) -> Json:
    channel = f"#/channels/{spec.topic.name}"
    operation: Json = {
        "action": _action(spec),
        "summary": spec.summary,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{label(spec)}"}],
    }
    if isinstance(spec, RequestSpec):
        operation["reply"] = _reply(f"{label(spec)}.reply")
    return operation


# -- the live channel -------------------------------------------------------------------------------------------------


def _reply(message: str) -> Json:
    """Where a reply goes: to the mailbox that the request names."""
    return {
        "address": {"location": "$message.header#/reply-to"},
        "channel": {"$ref": f"#/channels/{MAILBOX}"},
        "messages": [{"$ref": f"#/channels/{MAILBOX}/messages/{message}"}],
    }


def _reply_names() -> dict[str, tuple[type[BaseModel], str]]:
    """Every reply by the name of its message, with what it answers."""
    events = {f"{label(spec)}.reply": (spec.reply, f"The reply to {spec.type}.") for spec in _requests()}
    signals = {
        f"signal.{spec.kind}.reply": (spec.reply, f"The reply to the signal {spec.kind}.")
        for spec in SIGNALS
        if spec.reply is not None
    }
    return {**events, **signals}


def _live_channels() -> Json:
    mailbox = [*_reply_names(), *FRAMES]
    return {
        MAILBOX: _live_channel(None, "Replies and frames of answers, to the one process that waits.", mailbox),
        SIGNAL_CHANNEL: _live_channel(
            SIGNALS_STREAM, "Signals to every instance.", [f"signal.{spec.kind}" for spec in SIGNALS]
        ),
    }


def _live_channel(address: str | None, description: str, messages: list[str]) -> Json:
    references = {name: {"$ref": f"#/components/messages/{name}"} for name in messages}
    return {"address": address, "description": description, "messages": references}


def _live_messages(references: dict[type[BaseModel], Json]) -> Json:
    signals = {f"signal.{spec.kind}": (spec.payload, spec.summary) for spec in SIGNALS}
    return {
        name: {"name": name, "summary": summary, "contentType": "application/json", "payload": references[model]}
        for name, (model, summary) in {**_reply_names(), **FRAMES, **signals}.items()
    }


def _signal_operation(spec: SignalSpec[Any]) -> Json:
    channel = f"#/channels/{SIGNAL_CHANNEL}"
    operation: Json = {
        "action": "send",
        "summary": spec.summary,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/signal.{spec.kind}"}],
    }
    if spec.reply is not None:
        operation["reply"] = _reply(f"signal.{spec.kind}.reply")
    return operation
