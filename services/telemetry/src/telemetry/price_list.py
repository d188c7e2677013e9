"""Prices: what an interaction cost, by what its model cost at that time."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

MILLION = 1_000_000


class Price(NamedTuple):
    """US dollars for a million tokens, from a moment (unix seconds) on; `cached_input` None is as `input`."""

    model: str
    valid_from: float
    input: float
    output: float
    cached_input: float | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an interaction used; None where nobody counted."""

    prompt: int | None = None
    completion: int | None = None
    total: int | None = None
    cached: int | None = None


class PriceList:
    """The prices of an organisation, with their history."""

    def __init__(self, prices: Iterable[Price] = ()) -> None:
        self._prices: dict[str, list[Price]] = {}
        for price in sorted(prices, key=lambda each: each.valid_from):
            self._prices.setdefault(price.model, []).append(price)

    def cost(self, model: str | None, tokens: Tokens, at: float) -> float | None:
        """US dollars; None where there was no price for the model, or nobody counted its tokens."""
        price = self._valid(model, at)
        if price is None or (tokens.prompt is None and tokens.completion is None):
            return None
        prompt, cached = tokens.prompt or 0, min(tokens.cached or 0, tokens.prompt or 0)
        cached_price = price.input if price.cached_input is None else price.cached_input
        sum = (prompt - cached) * price.input + cached * cached_price + (tokens.completion or 0) * price.output
        return sum / MILLION

    def _valid(self, model: str | None, at: float) -> Price | None:
        history = self._prices.get(model or "", [])
        place = bisect_right(history, at, key=lambda each: each.valid_from)
        return history[place - 1] if place else None
