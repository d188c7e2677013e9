"""Settings of resources, beside those every service shares."""

from pydantic import Field

from common.kernel.settings import CommonSettings


class ResourcesSettings(CommonSettings):
    """Where resources live and how long what was answered is remembered."""

    hume_organizations: str = Field(
        default="",
        description="Comma list of the organisations whose prompts, configs, tools and voices are kept at Hume; all "
        "others have theirs in our own database.",
    )
    resource_cache_seconds: float = Field(
        default=300.0,
        ge=1,
        description="How long a cached active set or version is taken for current where no change was told; a "
        "provider's own console tells none.",
    )
    resource_answers_seconds: int = Field(
        default=86_400, ge=60, description="How long the answer to a command is kept for a repetition of it."
    )

    @property
    def hume_organization_ids(self) -> frozenset[str]:
        return frozenset(filter(None, (name.strip() for name in self.hume_organizations.split(","))))
