"""Receipts of stopped turns, for whoever waits for them."""

from collections.abc import Iterable

from common.bus.live.writer import LiveWriter
from common.bus.request_reply import reply_to
from common.events.chat import StopReceipts, TurnReceipt
from common.events.reply import Reply
from llm_stream.turns.stop import Stop
from llm_stream.turns.turn import Turn


def send_receipts(live: LiveWriter, stop: Stop, turns: Iterable[Turn]) -> None:
    """Answer a stop with the receipts of what it ended, if anybody waits for them."""
    if stop.reply_to is None:
        return
    receipts = [TurnReceipt(id=turn.request.request_id, **turn.receipt.model_dump()) for turn in turns if turn.receipt]
    live.send(stop.reply_to, reply_to(stop.ask_id, Reply(StopReceipts(receipts=tuple(receipts)))))
