"""Assets: files of an organisation, uploaded or made by jobs. Their bytes are in the object store, not on the log."""

import secrets
from typing import Literal

from common.events.backoff import A_FEW_TIMES
from common.events.media_topics import MEDIA_COMMANDS, MEDIA_QUERIES
from common.events.reply import ReplyBody
from common.events.spec import Payload, RequestSpec, query

ASSET_ID = r"ast_[0-9a-f]{32}"
# In the object store: `assets/<organisation>/<id>`.
ASSET_KIND = "assets"
MAX_NAME = 200


def new_asset_id() -> str:
    """Unguessable, so that an id in a link says nothing about others."""
    return f"ast_{secrets.token_hex(16)}"


def file_name(text: str) -> str:
    """What a file may be called: the last part of a path, what can be shown of it, at most `MAX_NAME` characters.

    It is only ever shown: no path of ours is made of it.
    """
    last = text.replace("\\", "/").rpartition("/")[2]
    shown = "".join(letter for letter in last if letter.isprintable() and not "\ud800" <= letter <= "\udfff")
    return shown.strip(". ")[:MAX_NAME]


# -- what is asked -----------------------------------------------------------------------------------------------------


class AssetRecordRequested(Payload):
    """An upload whose bytes are in the object store under its id. It becomes an asset, answered with 201.

    `content_type` is what its first bytes say, whatever its sender said. It goes after `keep_seconds`, None for what
    the installation says.
    """

    org_id: str
    key_id: str
    id: str
    content_type: str
    size: int
    sha256: str
    name: str = ""
    keep_seconds: int | None = None


class AssetGetRequested(Payload):
    """One asset of an organisation."""

    org_id: str
    id: str


class AssetListRequested(Payload):
    """Assets of an organisation by age, behind the asset `after`; those of one job, or of one kind."""

    org_id: str
    limit: int = 50
    after: str | None = None
    job_id: str | None = None
    kind: str | None = None
    oldest_first: bool = False


class AssetDeleteRequested(Payload):
    """Take an asset away, row and bytes."""

    org_id: str
    key_id: str
    id: str


# -- what is answered --------------------------------------------------------------------------------------------------


class AssetInfo(ReplyBody):
    """A file. Times are unix seconds, `sha256` is lower-case hex; `url` is the path of its bytes.

    `kind` is `upload` or the kind of the job `job_id` that made it.
    """

    id: str
    object: Literal["asset"]
    content_type: str
    size: int
    sha256: str
    created_at: float
    expires_at: float | None
    name: str
    kind: str
    job_id: str | None
    url: str


class AssetList(ReplyBody):
    """A page; `has_more`: ask again behind the last one."""

    object: Literal["list"]
    data: tuple[AssetInfo, ...]
    has_more: bool


class AssetDeleted(ReplyBody):
    """It is gone."""

    id: str
    object: Literal["asset"]
    deleted: bool


ASSET_RECORD_REQUESTED = RequestSpec(
    type="asset.record.requested",
    version=1,
    payload=AssetRecordRequested,
    reply=AssetInfo,
    topic=MEDIA_COMMANDS,
    key=lambda command: f"{command.org_id}/{command.id}",
    summary="Make an asset of an upload whose bytes are in the object store.",
    retry=A_FEW_TIMES,
    expires=True,
)

ASSET_DELETE_REQUESTED = RequestSpec(
    type="asset.delete.requested",
    version=1,
    payload=AssetDeleteRequested,
    reply=AssetDeleted,
    topic=MEDIA_COMMANDS,
    key=lambda command: f"{command.org_id}/{command.id}",
    summary="Take an asset away.",
    retry=A_FEW_TIMES,
    expires=True,
)

ASSET_GET_REQUESTED = query(
    type="asset.get.requested",
    payload=AssetGetRequested,
    reply=AssetInfo,
    topic=MEDIA_QUERIES,
    key=lambda query: query.org_id,
    summary="Answer what an asset is.",
)

ASSET_LIST_REQUESTED = query(
    type="asset.list.requested",
    payload=AssetListRequested,
    reply=AssetList,
    topic=MEDIA_QUERIES,
    key=lambda query: query.org_id,
    summary="Answer which assets an organisation has.",
)
