"""The variables that a session was given: told once, they hold for its later turns.

They are kept beside the cache of answers, within its bounds, for a day after they were given last.
"""

import hashlib
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


class SessionVariables:
    """What sessions were given. While the store is away every request has what it brings itself."""

    def __init__(self, store: AnswerStore) -> None:
        self._store = store
        self._known: OrderedDict[str, bytes] = OrderedDict()

    async def complete(
        self, request: ChatReplyRequested, given: Mapping[str, str], wanted: Set[str]
    ) -> Mapping[str, str]:
        """The variables that a request gives, and those of its session where not all that are `wanted` are among them.

        A session that nobody has named is over with its request.
        """
        if request.session_id == request.request_id or not wanted:
            return given
        key = _key(request)
        before = {} if wanted <= given.keys() else await self._read(key)
        known = {**before, **given}
        if given:
            await self._keep(request.org_id, key, known)
        return known

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
        if len(packed) > MAX_BYTES or self._known.get(key) == digest:
            return
        try:
            await self._store.put(org_id, key, packed, KEEP_SECONDS)
        except CacheUnavailable as error:
            log.warning("variables of a session not kept", error=str(error))
            return
        self._known[key] = digest
        self._known.move_to_end(key)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


def _key(request: ChatReplyRequested) -> str:
    """Of the organisation's session; a user named in it has variables of their own."""
    named = orjson.dumps((request.org_id, request.session_id, request.user_id))
    return f"variables:{hashlib.sha256(named).hexdigest()}"
