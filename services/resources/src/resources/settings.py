"""Settings of resources, beside those every service shares."""

from pydantic import Field, SecretStr

from common.kernel.settings import CommonSettings


class ResourcesSettings(CommonSettings):
    """Where resources live and how long what was answered is remembered."""

    hume_organizations: str = Field(
        default="",
        description="Comma list of the organisations whose prompts, configs, tools and voices are kept at Hume, each "
        "with the environment variable of its account's API key: acme=ACME_HUME_KEY, and ACME_HUME_KEY_SECRET holds "
        "the secret key. One without a variable has the account of SONANT_HUME_API_KEY. No two may have the same "
        "key. All others have theirs in our own database.",
    )
    hume_api_key: SecretStr = Field(
        default=SecretStr(""),
        description="API key of the account at Hume of the organisation named without a variable. With none named so, "
        "organisations that are not named get access tokens and copies from it. Without a key the sandbox stands in, "
        "if it runs, with an account for each organisation.",
    )
    hume_secret_key: SecretStr = Field(
        default=SecretStr(""), description="Secret key of that account; access tokens need it."
    )
    hume_base_url: str = Field(default="https://api.hume.ai", description="Where Hume's API is.")
    sandbox_url: str | None = Field(
        default=None, description="Where the provider sandbox listens; it stands in for Hume where no key is set."
    )
    draft_url: str | None = Field(
        default=None,
        description="Base URL of the OpenAI-compatible API whose model drafts tools, with its /v1. Unset: OpenAI where "
        "the key is set, else the sandbox.",
    )
    draft_model: str | None = Field(
        default=None, description="The model that drafts tools. Unset: gpt-4o-mini, and on the sandbox its own."
    )
    draft_key_env: str = Field(
        default="OPENAI_API_KEY", description="Name of the environment variable that holds the key of that API."
    )
    draft_seconds: float = Field(
        default=75.0, gt=0, description="How long a draft may take with its repairs; the gateway waits 90 s."
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
