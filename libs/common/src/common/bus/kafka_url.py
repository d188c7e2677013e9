"""Kafka by URL: which brokers, by TLS or not, and who logs in how. Nothing here reads a file or dials.

`kafka://[user:password@]host[:port][,host…][?option=…]` is in the clear, `kafka+ssl://…` is TLS. The options have the
names that clients of Kafka give them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

# Scheme: whether it is TLS.
SCHEMES = {"kafka": False, "kafka+ssl": True}
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
SSL_OPTIONS = ("ssl_cafile", "ssl_certfile", "ssl_keyfile")
TOKEN_OPTIONS = ("token_url", "token_file", "token_scope")
OPTIONS = ("sasl_mechanism", *SSL_OPTIONS, *TOKEN_OPTIONS)
# What settings may say in place of the URL, and the prefix of their variables.
FIELDS = ("username", "password", *OPTIONS)
VARIABLE_PREFIX = "SONANT_KAFKA_"


@dataclass(frozen=True, slots=True)
class KafkaUrl:
    """The parts of a URL; `servers` is `host:port[,host:port]`. Empty texts stand for what it does not say."""

    servers: str
    tls: bool = False
    username: str = ""
    password: str = field(default="", repr=False)
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, url: str) -> "KafkaUrl":
        """Raises ValueError, whose text shows nothing of a login."""
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES:
            raise ValueError(f"expected is a URL that begins with {' or '.join(f'{each}://' for each in SCHEMES)}")
        login, _, servers = parts.netloc.rpartition("@")
        if not servers or parts.path.strip("/"):
            raise ValueError("expected is kafka://host:port[,host:port] without a path")
        username, _, password = login.partition(":")
        return cls(servers, SCHEMES[parts.scheme], unquote(username), unquote(password), _options(parts.query))

    def __str__(self) -> str:
        scheme = next(scheme for scheme, tls in SCHEMES.items() if tls == self.tls)
        login = f"{quote(self.username, safe='')}:{quote(self.password, safe='')}@" if self.username else ""
        query = f"?{urlencode(self.options)}" if self.options else ""
        return f"{scheme}://{login}{self.servers}{query}"

    @property
    def mechanism(self) -> str:
        """The SASL mechanism, empty where nobody logs in."""
        if given := self.options.get("sasl_mechanism"):
            return given.upper()
        if any(name in self.options for name in TOKEN_OPTIONS):
            return "OAUTHBEARER"
        return "PLAIN" if self.username else ""

    @property
    def protocol(self) -> str:
        """What Kafka calls `security.protocol`."""
        transport = "SSL" if self.tls else "PLAINTEXT"
        return f"SASL_{transport}" if self.mechanism else transport

    def complaint(self) -> str:
        """Why nobody can log in with this, as far as the URL tells; empty where somebody can."""
        if self.mechanism and self.mechanism not in MECHANISMS:
            return f"sasl_mechanism is unknown; known are {', '.join(MECHANISMS)}"
        if not self.tls and (found := [name for name in SSL_OPTIONS if name in self.options]):
            return f"{found[0]} needs a URL that begins with kafka+ssl://"
        if "ssl_keyfile" in self.options and "ssl_certfile" not in self.options:
            return "ssl_keyfile needs ssl_certfile"
        return self._login_complaint()

    def _login_complaint(self) -> str:
        if self.mechanism != "OAUTHBEARER":
            whole = bool(self.username and self.password) or not self.mechanism
            return "" if whole else f"{self.mechanism} needs a user and a password"
        if "token_url" in self.options:
            whole = bool(self.username and self.password)
            return "" if whole else "token_url needs a user and a password: the id of a client and its secret"
        return "" if "token_file" in self.options else "OAUTHBEARER needs token_url or token_file"


def _options(query: str) -> dict[str, str]:
    given = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in given]
    unknown = [name for name in names if name not in OPTIONS]
    if unknown or len(set(names)) < len(names):
        raise ValueError(f"expected after the `?` is each at most once of {', '.join(OPTIONS)}")
    return {name: value for name, value in given if value}


def is_kafka(url: str) -> bool:
    """Whether this is the URL of a Kafka."""
    return urlsplit(url).scheme in SCHEMES


def completed(url: str, given: Mapping[str, str]) -> str:
    """A URL of Kafka with what it leaves open filled in from `given`, by the names of `FIELDS`; others as they are.

    Raises ValueError as `KafkaUrl.parse`.
    """
    added = {name: value for name in FIELDS if (value := given.get(name))}
    if not added or not is_kafka(url):
        return url
    parsed = KafkaUrl.parse(url)
    options = {name: value for name, value in added.items() if name in OPTIONS}
    return str(
        replace(
            parsed,
            username=parsed.username or added.get("username", ""),
            password=parsed.password or added.get("password", ""),
            options={**options, **parsed.options},
        )
    )


def completed_from(url: str, environ: Mapping[str, str]) -> str:
    """The same from environment variables."""
    return completed(url, {name: environ.get(f"{VARIABLE_PREFIX}{name.upper()}", "") for name in FIELDS})
