"""A broker as operators have them: TLS, and users that log in by every mechanism that Sonant speaks."""

import base64
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from common.bus.kafka_access import KafkaAccess
from deploy.kafka.broker import Broker, free_port

USER = "sonant"
# What a URL has to escape.
PASSWORD = "s3cret/@:#?"
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
MODULES = "org.apache.kafka.common.security"

PROPERTIES = """
listeners=BROKER://127.0.0.1:{port},MUTUAL://127.0.0.1:{mutual},INSIDE://127.0.0.1:{inside},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=BROKER://localhost:{port},MUTUAL://localhost:{mutual},INSIDE://127.0.0.1:{inside}
listener.security.protocol.map=BROKER:SASL_SSL,MUTUAL:SSL,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INSIDE
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
listener.name.mutual.ssl.client.auth=required
listener.name.broker.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.broker.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_{user}="{password}";
listener.name.broker.scram-sha-256.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.broker.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.broker.oauthbearer.sasl.jaas.config={modules}.oauthbearer.OAuthBearerLoginModule required;
"""


class SecuredBroker(Broker):
    """SASL_SSL on its port, TLS with certificates of clients on a second one."""

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self._mutual, self._inside = free_port(), free_port()
        data.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        self.authority = data / "authority.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        self.keystore = data / "broker.pem"
        _write_pair(authority.issue_cert("localhost", "127.0.0.1"), self.keystore)
        self.certificate = data / "client.pem"
        _write_pair(authority.issue_cert("sonant.example"), self.certificate)

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        """By the mechanism that clusters are usually run with."""
        return self.url_by("SCRAM-SHA-512")

    def url_by(self, mechanism: str, password: str = PASSWORD, **options: str) -> str:
        """The URL of the user with this password."""
        more = "".join(f"&{name}={quote(value)}" for name, value in options.items())
        login = f"{USER}:{quote(password, safe='')}@"
        return f"kafka+ssl://{login}{self.address}?sasl_mechanism={mechanism}&ssl_cafile={self.authority}{more}"

    def url_by_token(self, **options: str) -> str:
        """The URL of somebody with a token, or with what gives one."""
        more = "".join(f"&{name}={quote(value)}" for name, value in options.items())
        return f"kafka+ssl://{self.address}?ssl_cafile={self.authority}{more}"

    @property
    def mutual_url(self) -> str:
        """The URL of a client that shows a certificate."""
        files = f"ssl_cafile={self.authority}&ssl_certfile={self.certificate}"
        return f"kafka+ssl://localhost:{self._mutual}?{files}"

    @property
    def client_arguments(self) -> dict[str, Any]:
        return KafkaAccess.of(self.url).arguments

    def more_properties(self) -> str:
        return PROPERTIES.format(
            port=self.port,
            mutual=self._mutual,
            inside=self._inside,
            controller=self._controller_port,
            keystore=self.keystore,
            authority=self.authority,
            modules=MODULES,
            user=USER,
            password=PASSWORD,
        )

    def format_options(self) -> Sequence[str]:
        users = [f"{mechanism}=[name={USER},password={PASSWORD}]" for mechanism in SCRAM]
        return [part for user in users for part in ("--add-scram", user)]


def _write_pair(pair: trustme.LeafCert, path: Path) -> None:
    # Java reads keys in PKCS 8 alone.
    key = load_pem_private_key(pair.private_key_pem.bytes(), None)
    shown = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(shown + b"".join(each.bytes() for each in pair.cert_chain_pems))


def unsigned_token(subject: str = USER, seconds: int = 3600) -> str:
    """A token as a broker takes it that was not told whom to trust (RFC 7519, section 6)."""
    now = int(time.time())
    claims = {"sub": subject, "iat": now - 10, "exp": now + seconds}
    return f"{_encoded({'alg': 'none'})}.{_encoded(claims)}."


def _encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
