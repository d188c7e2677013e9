"""The routes of keys: an organisation's admins manage its keys, the operator's admins those of all."""

from collections.abc import Sequence

from gateway.http.idempotency import IDEMPOTENCY_HEADER
from gateway.http.routing import Route
from gateway.keys.admin import (
    BudgetUse,
    CreatedKey,
    Key,
    KeyList,
    KeysQuery,
    NewKey,
    Rotation,
    create_key,
    list_keys,
    read_budget,
    revoke_key,
    rotate_key,
)
from gateway.ports import Scope, Work

# Instead of the kept answer that other routes repeat: the text of a key is kept nowhere.
ONCE = {IDEMPOTENCY_HEADER: "A repetition within a day makes no second key; 409 `already_created` names the first."}

ROUTES: Sequence[Route] = [
    Route(
        "POST",
        "/v1/admin/keys",
        create_key,
        "Create an API key",
        scope=Scope.ADMIN,
        work=Work.WRITE,
        request=NewKey,
        response=CreatedKey,
        headers=ONCE,
        status=201,
        errors=(409, 422),
        tags=("admin",),
        description="The key is shown in this answer and never again, not even to a repetition of the request.",
    ),
    Route(
        "GET",
        "/v1/admin/keys",
        list_keys,
        "List API keys",
        scope=Scope.ADMIN,
        work=Work.READ,
        query=KeysQuery,
        response=KeyList,
        errors=(404,),
        tags=("admin",),
    ),
    Route(
        "GET",
        "/v1/admin/keys/{key_id}/budget",
        read_budget,
        "See what an API key has spent",
        name="get_key_budget",
        scope=Scope.ADMIN,
        work=Work.READ,
        response=BudgetUse,
        errors=(404,),
        tags=("admin",),
        description="Of the day or month that is now. 404 `no_budget` for a key without one.",
    ),
    Route(
        "DELETE",
        "/v1/admin/keys/{key_id}",
        revoke_key,
        "Revoke an API key",
        scope=Scope.ADMIN,
        response=Key,
        errors=(404,),
        tags=("admin",),
        description="It ends at once in every process. Revoking it again changes nothing.",
    ),
    Route(
        "POST",
        "/v1/admin/keys/{key_id}/rotate",
        rotate_key,
        "Replace an API key",
        scope=Scope.ADMIN,
        work=Work.WRITE,
        request=Rotation,
        response=CreatedKey,
        headers=ONCE,
        status=201,
        errors=(404, 409, 422),
        tags=("admin",),
        description="The new key has the same rights; the old one ends after the overlap.",
    ),
]
