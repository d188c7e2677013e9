"""What the stand-ins charged for speech: calls and characters by provider, and how often the same was asked again."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

# Texts come from callers, so what is remembered of them is bounded.
MAX_TEXTS = 100_000


@dataclass(slots=True)
class Charged:
    """What one provider charged."""

    calls: int = 0
    characters: int = 0
    repeats: int = 0
    under_way: int = 0
    most_at_once: int = 0
    texts: Counter[bytes] = field(default_factory=Counter)

    def begin(self) -> None:
        """A call begins."""
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)

    def end(self) -> None:
        """A call ends, however."""
        self.under_way -= 1

    def add(self, text: str, manner: str) -> None:
        """Charge for a text, spoken in this manner."""
        self.calls += 1
        self.characters += len(text)
        digest = hashlib.sha256(f"{manner}\n{text}".encode()).digest()
        if self.texts[digest]:
            self.repeats += 1
        if digest in self.texts or len(self.texts) < MAX_TEXTS:
            self.texts[digest] += 1

    def as_dict(self) -> dict[str, int]:
        """The totals by name."""
        return {
            "calls": self.calls,
            "characters": self.characters,
            "repeats": self.repeats,
            "under_way": self.under_way,
            "most_at_once": self.most_at_once,
        }


class SpeechCharges:
    """The charges of all providers since the last reset."""

    def __init__(self) -> None:
        self._of: dict[str, Charged] = {}

    def of(self, provider: str) -> Charged:
        """Those of one provider."""
        return self._of.setdefault(provider, Charged())

    def reset(self) -> None:
        """Forget them all."""
        self._of.clear()

    def as_dict(self) -> dict[str, Any]:
        """All of them."""
        return {provider: charged.as_dict() for provider, charged in self._of.items()}


SPEECH_CHARGES = web.AppKey("speech_charges", SpeechCharges)


def routes() -> list[web.RouteDef]:
    """The routes that show the charges and forget them."""
    return [web.get("/sandbox/speech/charges", show), web.delete("/sandbox/speech/charges", forget)]


async def show(request: web.Request) -> web.Response:
    """The charges by provider."""
    body = orjson.dumps(request.app[SPEECH_CHARGES].as_dict())
    return web.Response(body=body, content_type="application/json")


async def forget(request: web.Request) -> web.Response:
    """Begin to count anew."""
    request.app[SPEECH_CHARGES].reset()
    return web.Response(status=204)
