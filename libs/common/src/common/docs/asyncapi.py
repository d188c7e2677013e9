"""The AsyncAPI 3.0 document: topics as channels, events as messages, and who sends them."""

from typing import Any

from pydantic.json_schema import models_json_schema

from common.docs.schemas import label
from common.docs.topics import carried, describe_key
from common.events.registry import EVENTS, topics
from common.events.spec import EventSpec, Topic

# Of the contract, not of the code: rises when an event or a topic is added.
CONTRACT_VERSION = "1.0.0"
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

ENVELOPES = {"Envelope": ENVELOPE, "Passport": PASSPORT}


def document() -> dict[str, Any]:
    """The whole document, ready for JSON; the same on every machine."""
    payloads, definitions = _payloads()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Sonant events",
            "version": CONTRACT_VERSION,
            "description": "What travels on the log. Payloads evolve by optional fields; readers ignore unknown ones.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in topics()},
        "operations": {f"{_action(spec)}.{label(spec)}": _operation(spec) for spec in EVENTS},
        "components": {"messages": _messages(payloads), "schemas": {**ENVELOPES, **definitions}},
    }


def _payloads() -> tuple[dict[str, Any], dict[str, Any]]:
    """A reference per event, and the definitions they point to."""
    references, definitions = models_json_schema(
        [(spec.payload, "validation") for spec in EVENTS], ref_template="#/components/schemas/{model}"
    )
    return {label(spec): references[spec.payload, "validation"] for spec in EVENTS}, definitions["$defs"]


def _channel(topic: Topic) -> dict[str, Any]:
    specs = carried(topic)
    names = ", ".join(spec.type for spec in specs)
    return {
        "address": topic.name,
        "description": f"{'Sets aside' if topic.is_dead_letters else 'Carries'} {names}.",
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


def _messages(payloads: dict[str, Any]) -> dict[str, Any]:
    """Each event as published and, where it may be parked, as a dead letter."""
    return {
        _message_name(spec, topic): _message(spec, payloads[label(spec)], topic)
        for topic in topics()
        for spec in carried(topic)
    }


def _message(spec: EventSpec[Any], payload: dict[str, Any], topic: Topic) -> dict[str, Any]:
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


def _operation(spec: EventSpec[Any]) -> dict[str, Any]:
    channel = f"#/channels/{spec.topic.name}"
    return {
        "action": _action(spec),
        "summary": spec.summary,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{label(spec)}"}],
    }
