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
    resource_answers_seconds: int = Field(
        default=86_400, ge=60, description="How long the answer to a command is kept for a repetition of it."
    )

    @property
    def hume_organization_ids(self) -> frozenset[str]:
        return frozenset(filter(None, (name.strip() for name in self.hume_organizations.split(","))))
