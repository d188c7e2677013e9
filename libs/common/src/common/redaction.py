"""What looks like a secret in a text, and the text without it."""

import re

# Bearer tokens, our own and OpenAI-style keys (whole, or with stars as providers quote them), and passwords inside
# URLs, wherever they turn up in a text.
SECRET_TEXTS = re.compile(r"(?i)bearer\s+\S+|\bs[kn]-[A-Za-z0-9_*.-]{6,}|(?<=:)[^:/@\s]+(?=@)")
REDACTED = "[redacted]"


def redact_text(text: str) -> str:
    """The text without what looks like a secret."""
    return SECRET_TEXTS.sub(REDACTED, text)


def looks_secret(text: str) -> bool:
    """Whether a text holds what looks like a secret."""
    return SECRET_TEXTS.search(text) is not None
