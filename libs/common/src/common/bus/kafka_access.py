"""How every client of Kafka is told where the brokers are and who we are: the one place that does."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka.errors import KafkaError

from common.bus.kafka_url import KafkaUrl


class TokenError(KafkaError):
    """No token can be had; the message says why, and holds no secret."""


@dataclass(frozen=True, slots=True)
class KafkaAccess:
    """Where the brokers are (`host:port[,host:port]`), and how a connection to one is secured."""

    servers: str
    security: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, url: str) -> "KafkaAccess":
        """As the URL says (`common.bus.kafka_url`). Raises ValueError for one that nobody can log in with, and OSError
        where a file that it names cannot be used.
        """
        parsed = KafkaUrl.parse(url)
        if complaint := parsed.complaint():
            raise ValueError(complaint)
        transport = {"security_protocol": parsed.protocol, "ssl_context": tls_context(parsed)}
        return cls(parsed.servers, {**transport, **_login(parsed)})

    @property
    def arguments(self) -> dict[str, Any]:
        """Those that every client of `aiokafka` takes."""
        return {"bootstrap_servers": self.servers, **self.security}


def tls_context(url: KafkaUrl) -> ssl.SSLContext | None:
    """What TLS trusts, and the certificate that we show; None in the clear. Raises OSError naming the option."""
    if not url.tls:
        return None
    options = url.options
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_cafile"))
    except OSError as error:
        raise OSError(f"ssl_cafile {options.get('ssl_cafile')} cannot be used: {_why(error)}") from error
    if certificate := options.get("ssl_certfile"):
        try:
            # With a password given, an encrypted key is refused rather than asked about on the terminal.
            context.load_cert_chain(certificate, options.get("ssl_keyfile"), password="")
        except OSError as error:
            raise OSError(f"ssl_certfile {certificate} with its key cannot be used: {_why(error)}") from error
    return context


def _why(error: OSError) -> str:
    return error.strerror or "it holds no certificate in PEM"


def _login(url: KafkaUrl) -> dict[str, Any]:
    if not url.mechanism:
        return {}
    if url.mechanism == "OAUTHBEARER":
        # Loads a client of HTTP, which other logins do without.
        from common.bus.kafka_token import token_provider

        return {"sasl_mechanism": url.mechanism, "sasl_oauth_token_provider": token_provider(url)}
    return {
        "sasl_mechanism": url.mechanism,
        "sasl_plain_username": url.username,
        "sasl_plain_password": url.password,
    }
