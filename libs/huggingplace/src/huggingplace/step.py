"""Steps of an interaction: named, timed, one inside the other."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any

from huggingplace import current
from huggingplace.errors import ValidationError
from huggingplace.interaction import error_of
from huggingplace.process_events import GUARD
from huggingplace.uuid7 import uuid7

if TYPE_CHECKING:
    from huggingplace.log_writer import Recorder
    from huggingplace.session_log import SessionState

# What the server takes inside one interaction. Deeper ones are kept beside their parent, and name it.
MOST_DEEP = 8
MOST_STEPS = 1_000
_MOST_NAME = 256

Node = dict[str, Any]


class StepTrace:
    """The steps that belong together, under one trace id, until an interaction takes them. Safe over threads."""

    def __init__(self, recorder: Recorder, session: SessionState | None) -> None:
        self.id = uuid7().replace("-", "")
        self.recorder = recorder
        self.session = session
        # The interaction that was logged in it last; what ends after that belongs to it.
        self.interaction_id: str | None = None
        self._ended: list[Node] = []
        self._count = 0

    def add(self, node: Node, parent: Step | None) -> None:
        """A step has ended. One whose parent has ended before it stands for itself."""
        with GUARD:
            self._count += 1
            is_too_many = self._count > MOST_STEPS
            container = None if parent is None else parent.container_of_children
            if container is not None and not is_too_many and not container.has_ended:
                if container is not parent:
                    node["parent_id"] = parent.id if parent else None
                container.children.append(node)
                return
            if parent is not None:
                node["parent_id"] = parent.id
            waits = parent is None and not is_too_many and self.interaction_id is None and self.session is not None
            if waits:
                self._ended.append(node)
            else:
                nodes, self._ended = [*self._ended, node], []
                self._count = 0 if is_too_many else self._count
        if waits:
            self.recorder.waits(self)
        else:
            self.recorder.keep_steps(nodes, self)

    def take(self, innermost: Step | None) -> list[Node]:
        """The steps that have ended and are nobody's yet; those inside open steps name them."""
        with GUARD:
            nodes, self._ended = self._ended, []
            step = innermost
            while step is not None:
                for node in step.children:
                    node.setdefault("parent_id", step.id)
                nodes += step.children
                step.children = []
                step = step.parent
            self._count = 0
            return nodes


class Step:
    """One step, from `with` to its end; also in `async with`.

    What is set on it is kept: `input`, `output` (anything that JSON has a shape for), `metadata` (a mapping), `type`
    (`llm`, `tool`, `retrieval`, `chain`, `embedding`, `agent`, `other`). An exception that leaves it makes its `status`
    `error`.
    """

    def __init__(
        self,
        trace: StepTrace,
        name: str,
        parent: Step | None,
        *,
        type: str = "chain",
        **given: Any,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise ValidationError("A step needs a name.", "name")
        self.id = uuid7()
        self.name = name[:_MOST_NAME]
        self.type = type
        self.input: Any = None
        self.output: Any = None
        self.metadata: dict[str, Any] = {}
        self.status = "ok"
        self.error: dict[str, Any] | None = None
        self.trace = trace
        self.parent = parent
        self.depth: int = parent.depth + 1 if parent else 1
        self.children: list[Node] = []
        self.has_ended = False
        self.started_at = time.time()
        self._began = time.perf_counter()
        self._token: Token[Step | None] | None = None
        self.set(**given)

    def set(self, **given: Any) -> Step:
        """Set `input`, `output`, `type`, and what is to be added to `metadata`; raises ValidationError."""
        for name, value in given.items():
            if name == "metadata":
                if not isinstance(value, Mapping):
                    raise ValidationError("metadata must be a mapping.", name)
                self.metadata.update(value)
            elif name in ("input", "output", "type"):
                setattr(self, name, value)
            else:
                raise ValidationError(f"A step has no {name!r}.", name)
        return self

    @property
    def container_of_children(self) -> Step:
        """The step whose list its children go into: itself, as long as that is not too deep."""
        return self if self.depth < MOST_DEEP or self.parent is None else self.parent.container_of_children

    def begin(self) -> None:
        """Start its clock, now."""
        self.started_at = time.time()
        self._began = time.perf_counter()

    def end(self, error: BaseException | None = None) -> None:
        """It is over, once; `error` is what ended it."""
        if self.has_ended:
            return
        if error is not None:
            self.status, self.error = "error", error_of(error)
        with GUARD:
            self.has_ended = True
            node = self._node(time.perf_counter() - self._began)
        self.trace.add(node, self.parent)

    def end_as(self, started_at: float, duration_ms: float, error: BaseException | Mapping[str, Any] | None) -> None:
        """It is over, and was measured by somebody else."""
        self.started_at = started_at
        self._began = time.perf_counter() - duration_ms / 1000
        if isinstance(error, Mapping):
            self.status, self.error = "error", dict(error)
        self.end(error if isinstance(error, BaseException) else None)

    def __enter__(self) -> Step:
        self.begin()
        self._token = current.step.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            current.leave(current.step, self._token, self.parent)
            self._token = None
        self.end(error)

    async def __aenter__(self) -> Step:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _node(self, seconds: float) -> Node:
        node: Node = {
            "id": self.id,
            "name": self.name,
            "type": self.type,
            "started_at": self.started_at,
            "duration_ms": round(seconds * 1000, 3),
            "status": self.status,
        }
        for name, value in (("input", self.input), ("output", self.output), ("error", self.error)):
            if value is not None:
                node[name] = value
        if self.metadata:
            node["metadata"] = self.metadata
        if self.children:
            node["steps"] = self.children
        return node
