"""What a config may say of documents that are looked up before a model answers."""

from typing import Annotated

from pydantic import ConfigDict, Field

from common.events.documents import COLLECTION_ID
from common.events.first_error import FewUnknown

CollectionName = Annotated[str, Field(pattern=rf"^{COLLECTION_ID}$")]
Strictly = Annotated[bool, Field(strict=True)]
AliasName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:/+-]{1,200}$")]
Amount = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class RetrievalRules(FewUnknown):
    """Passages of which collections a model is asked with; none named is all of them.

    There are `k` at most, in `share` of what the context has left. They are left out where the search takes longer than
    `deadline_secs`. `rerank`: a model looks at them once more. `memory`: what the user has said in earlier sessions is
    looked up too. `question_model`: the alias that writes the question where the user's own leans on what was said
    before.
    """

    model_config = ConfigDict(extra="forbid")

    collections: Annotated[list[CollectionName], Field(max_length=16, fail_fast=True)] | None = None
    k: Annotated[int, Field(strict=True, ge=1, le=20)] | None = None
    share: Annotated[Amount, Field(gt=0, le=0.9)] | None = None
    deadline_secs: Annotated[Amount, Field(ge=0.02, le=10)] | None = None
    rerank: Strictly | None = None
    memory: Strictly | None = None
    question_model: AliasName | None = None
