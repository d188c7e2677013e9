"""Puts interactions, steps and scores together from what was said and where the running code is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from huggingplace import current
from huggingplace.errors import ClosedError, ValidationError
from huggingplace.interaction import ScoreValue, interaction, score, score_pairs
from huggingplace.json_text import encode
from huggingplace.keeper import Keeper
from huggingplace.process_events import GUARD
from huggingplace.session_log import SessionState
from huggingplace.step import Node, Step, StepTrace

# Sessions whose steps wait for their interaction; past it the oldest ones' go out by themselves.
MOST_WAITING = 1_000
# Steps that take more than this share of what an item may have go out by themselves.
_SHARE_OF_STEPS = 0.25


class Recorder:
    """What every client of a kind has behind it. Safe over threads."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self._waiting: OrderedDict[str, StepTrace] = OrderedDict()

    def log(self, given: Mapping[str, Any], session: SessionState | None = None, *, takes_steps: bool = True) -> str:
        """Keep an interaction, with the steps that have ended; returns its id. Raises ValidationError.

        It belongs to `session`, or to that of the running code.
        """
        session = session or self._session(given)
        fields = {**session.defaults, **given, "session_id": session.id} if session else dict(given)
        scores = score_pairs(fields.pop("scores", None))
        item = interaction(fields)
        ratings = [score(item["id"], name, value, user_id=item.get("user_id")) for name, value in scores]
        step = self._step(session)
        trace = step.trace if step else session.trace if session else None
        nodes = trace.take(step) if trace and takes_steps else []
        if trace and (step or nodes):
            self._join(item, trace, step, session)
            if takes_steps:
                trace.interaction_id = item["id"]
                self._no_longer_waits(trace)
        self._keep_interaction(item, nodes, trace)
        for rating in ratings:
            self._keep(rating, item.get("trace_id") or item["id"])
        return str(item["id"])

    def score(self, interaction_id: str, name: str, value: ScoreValue, given: Mapping[str, Any]) -> str:
        """Keep a score; returns its id. Raises ValidationError."""
        item = score(interaction_id, name, value, **given)
        self._keep(item, item["interaction_id"])
        return str(item["id"])

    def step(self, name: str, given: Mapping[str, Any], session: SessionState | None = None) -> Step:
        """A step that begins inside the one that is running, or at the root. Raises ValidationError."""
        session = session or self._session({})
        parent = self._step(session)
        if parent is not None:
            trace = parent.trace
        else:
            trace = session.trace_of_turn(self) if session else StepTrace(self, None)
        return Step(trace, name, parent, **given)

    def keep_steps(self, nodes: list[Node], trace: StepTrace) -> None:
        """Keep steps that no interaction takes along. What is wrong with one is told."""
        for node in nodes:
            item = {"kind": "step", **node, "trace_id": trace.id}
            if trace.session is not None:
                item["session_id"] = trace.session.id
            if trace.interaction_id is not None:
                item["interaction_id"] = trace.interaction_id
            try:
                self._keep(item, trace.id)
            except (ValidationError, ClosedError) as error:
                self.keeper.teller.tell(error)

    def waits(self, trace: StepTrace) -> None:
        """Steps of a session wait for its next interaction."""
        oldest = None
        with GUARD:
            self._waiting[trace.id] = trace
            if len(self._waiting) > MOST_WAITING:
                _, oldest = self._waiting.popitem(last=False)
        if oldest is not None:
            self.keep_steps(oldest.take(None), oldest)

    def keep_waiting(self, session: SessionState | None = None) -> None:
        """Nothing more is logged in this session, or in any: the steps that wait go out by themselves."""
        with GUARD:
            traces = [trace for trace in self._waiting.values() if session is None or trace.session is session]
            for trace in traces:
                del self._waiting[trace.id]
        for trace in traces:
            self.keep_steps(trace.take(None), trace)

    def _keep_interaction(self, item: dict[str, Any], nodes: list[Node], trace: StepTrace | None) -> None:
        sample_by = item.get("trace_id") or item["id"]
        apart = bool(nodes) and len(encode({"steps": nodes})) > self.keeper.options.max_item_bytes * _SHARE_OF_STEPS
        if nodes and not apart:
            item["step_data"] = [*item.get("step_data", ()), *nodes]
        self._keep(item, sample_by)
        if apart and trace:
            self.keep_steps(nodes, trace)

    def _keep(self, item: dict[str, Any], sample_by: str) -> None:
        options = self.keeper.options
        item["org_id"] = options.org_id
        item["mode"] = options.mode
        if "kind" not in item:
            for name, value in (("environment", options.environment), ("release", options.release)):
                if value is not None:
                    item.setdefault(name, value)
        self.keeper.keep(item, sample_by=sample_by)

    def _session(self, given: Mapping[str, Any]) -> SessionState | None:
        session = current.session.get()
        if session is None or session.recorder is not self or given.get("session_id") not in (None, session.id):
            return None
        return session

    def _step(self, session: SessionState | None) -> Step | None:
        """The running step, where it is of this client and of no other session."""
        step = current.step.get()
        if step is None or step.trace.recorder is not self or step.has_ended:
            return None
        if session is not None and step.trace.session not in (None, session):
            return None
        return step

    def _join(self, item: dict[str, Any], trace: StepTrace, step: Step | None, session: SessionState | None) -> None:
        item.setdefault("trace_id", trace.id)
        if step is not None:
            item.setdefault("parent_id", step.id)
        if trace.session is None:
            trace.session = session

    def _no_longer_waits(self, trace: StepTrace) -> None:
        with GUARD:
            self._waiting.pop(trace.id, None)
