"""Logs and traces interactions with language models: kept at once, delivered in the background, never in the way."""

from huggingplace.async_hugging_place import AsyncHuggingPlace
from huggingplace.current import propagate
from huggingplace.errors import (
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    DeliveryError,
    HuggingPlaceError,
    MaskingError,
    NetworkError,
    NetworkTimeoutError,
    PayloadTooLargeError,
    PermissionDeniedError,
    QueueFullError,
    RateLimitError,
    RefusedError,
    ServerError,
    SpoolError,
    ValidationError,
)
from huggingplace.hugging_place import HuggingPlace
from huggingplace.hugging_place import patch as patch_openai
from huggingplace.session_log import AsyncSession, Session
from huggingplace.step import Step
from huggingplace.traced import trace
from huggingplace.transports.file_transport import FileTransport, StdoutTransport
from huggingplace.transports.http_transport import HttpTransport
from huggingplace.transports.kafka_transport import KafkaTransport
from huggingplace.transports.transport import Batch, Transport
from huggingplace.version import VERSION as __version__

__all__ = [
    "AsyncHuggingPlace",
    "AsyncSession",
    "AuthenticationError",
    "Batch",
    "ClosedError",
    "ConfigurationError",
    "DeliveryError",
    "FileTransport",
    "HttpTransport",
    "HuggingPlace",
    "HuggingPlaceError",
    "KafkaTransport",
    "MaskingError",
    "NetworkError",
    "NetworkTimeoutError",
    "PayloadTooLargeError",
    "PermissionDeniedError",
    "QueueFullError",
    "RateLimitError",
    "RefusedError",
    "ServerError",
    "Session",
    "SpoolError",
    "StdoutTransport",
    "Step",
    "Transport",
    "ValidationError",
    "__version__",
    "patch_openai",
    "propagate",
    "trace",
]
