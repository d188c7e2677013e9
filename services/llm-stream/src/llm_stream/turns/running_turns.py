"""The running turns of this process, and the signals to them."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from common.bus.live.kept_answers import audience_of
from common.bus.live.writer import LiveWriter
from common.events.chat import AnswerAttach, AnswerRead, AnswerStop, Delivered, SessionInterrupt
from llm_stream.answer.whole_answers import WholeAnswers
from llm_stream.metrics import TURNS_RUNNING
from llm_stream.turns.early_stops import EarlyStops
from llm_stream.turns.receipts import send_receipts
from llm_stream.turns.stop import Stop
from llm_stream.turns.turn import Turn


class RunningTurns:
    """Turns by request id; a stop that matches none is left to `early_stops`."""

    def __init__(self, live: LiveWriter, early_stops: EarlyStops, whole_answers: WholeAnswers | None = None) -> None:
        self.whole_answers = whole_answers or WholeAnswers()
        self._live = live
        self._early_stops = early_stops
        self._answering: set[str] = set()
        self._running: dict[str, Turn] = {}
        TURNS_RUNNING.set_function(lambda: len(self._running))

    @contextlib.contextmanager
    def answering(self, request_id: str) -> Iterator[bool]:
        """Whether this process is the first to take up a request, which it is then at while the block runs."""
        if request_id in self._answering:
            yield False
            return
        self._answering.add(request_id)
        try:
            yield True
        finally:
            self._answering.remove(request_id)

    @contextlib.contextmanager
    def running(self, turn: Turn) -> Iterator[None]:
        """Reachable by signals while the block runs."""
        self._running[turn.request.request_id] = turn
        try:
            yield
        finally:
            turn.close()
            turn.backlog.close()
            self.whole_answers.turn_over(turn.request.request_id)
            del self._running[turn.request.request_id]

    def listened_to(self) -> list[Turn]:
        """Turns for which a gateway is supposed to be listening."""
        return [turn for turn in self._running.values() if turn.delivery.listened_to and turn.stoppable]

    # -- signals ------------------------------------------------------------------------------------------

    def on_stop(self, signal: AnswerStop) -> None:
        """Stop one answer, now or once its client has not come back."""
        stop = Stop(
            reason=signal.reason,
            signal_at=signal.at,
            delivered=signal.delivered,
            last_byte_at=signal.last_byte_at,
            withdrawn=signal.withdrawn,
            grace=signal.grace,
        )
        turn = self._running.get(signal.request_id)
        if turn is None:
            self._early_stops.add_for_request(signal.request_id, stop)
        elif stop.reason == "client_closed" and signal.mailbox != turn.delivery.mailbox:
            # The old connection of a client that has meanwhile attached through another gateway.
            return
        elif stop.reason == "client_closed" and not stop.withdrawn:
            # What the request wants holds however often its answer was taken up.
            turn.client_left(stop, max(stop.grace, turn.request.resume_grace))
        else:
            turn.stop(stop)

    def on_interrupt(self, signal: SessionInterrupt) -> None:
        """Stop every turn of a session that was received before the signal, and answer with the receipts."""
        session = f"{signal.org_id}/{signal.session_id}"
        stop = Stop(signal.reason, signal.at, reply_to=signal.reply_to, ask_id=signal.ask_id or "")
        self._early_stops.add_for_session(session, stop)
        stopped = []
        for turn in [turn for turn in self._running.values() if turn.session == session]:
            if turn.request.received_at <= stop.signal_at and turn.stoppable:
                left = signal.stopped.get(turn.request.request_id, Delivered())
                turn.stop(replace(stop, delivered=left.delivered, last_byte_at=left.last_byte_at))
                stopped.append(turn)
        if stopped:
            send_receipts(self._live, stop, stopped)

    def on_read(self, signal: AnswerRead) -> None:
        """How far the client of an answer has got, where it still reads through that gateway."""
        turn = self._running.get(signal.request_id)
        if turn is None or not turn.request.stream:
            self.whole_answers.received(signal.request_id)
        elif signal.mailbox == turn.delivery.mailbox:
            turn.backlog.received(signal.number)

    def on_attach(self, signal: AnswerAttach) -> None:
        """Whoever asks for what is not here, not yet or not any more, is not answered."""
        turn = self._running.get(signal.request_id)
        if turn is None or not turn.backlog.can_repeat(signal.after):
            return
        if signal.audience != audience_of(turn.request.org_id, stream=turn.request.stream):
            return
        turn.attach(signal.mailbox, signal.after)
