"""Answers in one piece: how much of them this process has on its way at a time, from the upstream to the client.

They cannot be held up in the middle as a stream can, so what is bounded is how many are received together. An answer
counts from its first byte until its gateway says that it is written to the client.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llm_stream.metrics import UPSTREAMS_HELD
from llm_stream.ports import UpstreamAnswer

# A smaller answer counts only while it is made; its gateway sends no receipt.
SMALL_BYTES = 64 * 1024
# One organisation may have so much of the whole.
SHARE = 4
# A gateway cuts a client that reads nothing sooner than this.
RECEIPT_SECONDS = 45.0


class _Lease:
    """What one answer takes; `incoming` while it is received."""

    def __init__(self, org_id: str, incoming: UpstreamAnswer) -> None:
        self.org_id = org_id
        self.incoming: UpstreamAnswer | None = incoming
        self.size = 0
        self.timer: asyncio.TimerHandle | None = None


class WholeAnswers:
    """At most `max_bytes` of all answers; beyond it all upstreams wait but the one that began first.

    Of one organisation it is a quarter, and beyond that all its upstreams but the first wait.
    """

    def __init__(self, max_bytes: int = 32 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._leases: dict[str, _Lease] = {}
        self._by_org: Counter[str] = Counter()
        self.total = 0

    @contextmanager
    def receiving(self, request_id: str, org_id: str, incoming: UpstreamAnswer) -> Iterator[Callable[[int], None]]:
        """While an answer is received: to be told how many bytes arrived. One that fails counts no longer."""
        self._drop(request_id)
        lease = self._leases[request_id] = _Lease(org_id, incoming)

        def grew(size: int) -> None:
            lease.size += size
            self.total += size
            self._by_org[org_id] += size
            if not self._may_read(lease):
                UPSTREAMS_HELD.inc()
                incoming.pause()

        try:
            yield grew
        except BaseException:
            self._drop(request_id)
            raise
        lease.incoming = None

    def turn_over(self, request_id: str) -> None:
        """Its last frame was sent. A large answer counts until its receipt comes, or is overdue."""
        lease = self._leases.get(request_id)
        if lease is None:
            return
        if lease.size <= SMALL_BYTES or lease.incoming is not None:
            self._drop(request_id)
        else:
            lease.timer = asyncio.get_running_loop().call_later(RECEIPT_SECONDS, self._drop, request_id)

    def received(self, request_id: str) -> None:
        """A receipt: the answer is written to its client, or the client has left."""
        lease = self._leases.get(request_id)
        if lease is not None and lease.incoming is None:
            self._drop(request_id)

    def _may_read(self, lease: _Lease) -> bool:
        if self._by_org[lease.org_id] > self._max_bytes // SHARE:
            first = next(each for each in self._leases.values() if each.org_id == lease.org_id)
            if first is not lease:
                return False
        return self.total <= self._max_bytes or lease is next(
            each for each in self._leases.values() if each.incoming is not None
        )

    def _drop(self, request_id: str) -> None:
        lease = self._leases.pop(request_id, None)
        if lease is None:
            return
        if lease.timer is not None:
            lease.timer.cancel()
        self.total -= lease.size
        self._by_org[lease.org_id] -= lease.size
        if self._by_org[lease.org_id] <= 0:
            del self._by_org[lease.org_id]
        for other in self._leases.values():
            if other.incoming is not None and self._may_read(other):
                other.incoming.resume()
