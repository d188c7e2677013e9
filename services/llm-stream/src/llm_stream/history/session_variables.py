"""The variables that a session was given: told once, they hold for its later turns.

They are kept beside the cache of answers, within its bounds, for a day after they were given last.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping, Set

import orjson
import structlog

from common.events.chat import ChatReplyRequested
from llm_stream.ports import AnswerStore, CacheUnavailable

log = structlog.get_logger(__name__)

KEEP_SECONDS = 86_400.0
# Of one session; what is more is for every request to bring.
MAX_BYTES = 16 * 1024
# Sessions of which this process knows what is kept, so that it is not written anew with every turn. 100 bytes each.
MAX_KNOWN = 20_000


# What was written is believed to be there so long: another process may have forgotten the session.
WRITTEN_SECONDS = 60.0


class SessionVariables:
    """What sessions were given, where anything of a session is `kept`.

    While the store is away every request has what it brings itself.
    """

    def __init__(self, store: AnswerStore, *, kept: bool = True) -> None:
        self._store = store
        self._kept = kept
        self._known: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    async def complete(
        self, request: ChatReplyRequested, given: Mapping[str, str], wanted: Set[str]
    ) -> Mapping[str, str]:
        """The variables that a request gives, and those of its session where not all that are `wanted` are among them.

        A session that nobody has named is over with its request.
        """
        if not self._kept or request.session_id == request.request_id or not wanted:
            return given
        key = _key(request.org_id, request.session_id)
        before = {} if wanted <= given.keys() else await self._read(key)
        known = {**before, **given}
        if given:
            await self._keep(request.org_id, key, known)
        return known

    async def forget(self, org_id: str, session_id: str) -> None:
        """The session is forgotten. Raises CacheUnavailable."""
        key = _key(org_id, session_id)
        self._known.pop(key, None)
        await self._store.drop(key)

    async def _read(self, key: str) -> dict[str, str]:
        try:
            kept = await self._store.get(key)
        except CacheUnavailable as error:
            log.warning("variables of a session not read", error=str(error))
            return {}
        return {} if kept is None else dict(orjson.loads(kept))

    async def _keep(self, org_id: str, key: str, known: Mapping[str, str]) -> None:
        packed = orjson.dumps(known, option=orjson.OPT_SORT_KEYS)
        digest = hashlib.blake2b(packed, digest_size=16).digest()
        former, until = self._known.get(key, (b"", 0.0))
        if len(packed) > MAX_BYTES or (former == digest and time.monotonic() < until):
            return
        try:
            await self._store.put(org_id, key, packed, KEEP_SECONDS)
        except CacheUnavailable as error:
            log.warning("variables of a session not kept", error=str(error))
            return
        self._known[key] = digest, time.monotonic() + WRITTEN_SECONDS
        self._known.move_to_end(key)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


def _key(org_id: str, session_id: str) -> str:
    named = orjson.dumps((org_id, session_id))
    return f"variables:{hashlib.sha256(named).hexdigest()}"
