"""Settings of llm-stream."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from common.kernel.settings import CommonSettings
from common.providers.addresses import networks

# What stands before the words of a user who has cut the assistant off.
MARK = "(You were interrupted. The user has heard nothing behind your last words.)"


class LlmStreamSettings(CommonSettings):
    """What llm-stream needs beyond the common settings."""

    models_file: Path | None = Field(
        default=None,
        description="TOML file with the model aliases; reloaded on SIGHUP. Unset: alias `default` on OpenAI where "
        "OPENAI_API_KEY is set, else on the sandbox.",
    )
    sandbox_url: str | None = Field(
        default=None, description="Where the provider sandbox listens; the default models use it without a key."
    )
    local_model_url: str | None = Field(
        default=None,
        description="Where a llama.cpp server on this machine listens, without /v1; `sonant up --local-model` sets it. "
        "It is the alias `local`, and `default` where no models file says otherwise.",
    )
    resume_seconds: int = Field(
        default=120, ge=1, description="How long after its end an answer can still be read again by its id."
    )
    max_answer_bytes: int = Field(
        default=8 * 1024 * 1024, ge=1024, description="Largest answer relayed; a longer one is ended with an error."
    )
    answer_backlog_bytes: int = Field(
        default=256 * 1024,
        ge=128 * 1024,
        description="How much of one streamed answer may wait for a client that reads slowly; then its upstream has to "
        "wait too.",
    )
    backlog_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1024 * 1024,
        description="The same for all answers of this process; while it is exceeded each may have 64 KiB waiting.",
    )
    running_answers_bytes: int = Field(
        default=128 * 1024 * 1024,
        ge=1024 * 1024,
        description="Running answers of this process are kept whole for clients that resume, up to so much together; "
        "beyond it what clients have received is forgotten.",
    )
    kept_answer_bytes: int = Field(
        default=1024 * 1024,
        ge=0,
        description="Largest answer that can be read again after its end; of a larger one only how it ended is kept.",
    )
    kept_answers_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=0,
        description="How much of ended answers this process keeps in the live store at a time, a quarter of it for one "
        "organisation at most.",
    )
    whole_answers_bytes: int = Field(
        default=32 * 1024 * 1024,
        ge=1024 * 1024,
        description="How much of answers that are not streamed is on its way through this process at a time, a quarter "
        "of it for one organisation; beyond it all upstreams but the first have to wait.",
    )
    max_embeddings_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1024,
        description="Largest answer with embeddings taken from an upstream; a longer one is an error. 2,048 vectors of "
        "3,072 dimensions take 34 MB in base64, and about 130 MB as numbers.",
    )
    max_large_embeddings: int = Field(
        default=4,
        ge=1,
        description="Embeddings requests of more than 64 inputs that an instance answers at the same time, since each "
        "answer is held in memory; others wait.",
    )
    python_tools: str = Field(
        default="",
        description="Comma list of the tools that installed packages may give, by the names of their entry points in "
        "the group `sonant.tools`.",
    )
    max_tool_rounds: int = Field(
        default=5,
        ge=1,
        le=20,
        description="How often a model may call tools that Sonant runs before it has to answer.",
    )
    tool_networks: str = Field(
        default="",
        description="Comma list of networks that HTTP tools may be called in beside public addresses, such as "
        "10.1.0.0/16.",
    )
    weather_url: str | None = Field(
        default=None,
        description="Open-Meteo's API for the built-in tool `weather`. Unset: the sandbox where it runs, else "
        "https://api.open-meteo.com, which is free for non-commercial use.",
    )
    geocoding_url: str | None = Field(
        default=None,
        description="Open-Meteo's search for places. Unset: the sandbox where it runs, else "
        "https://geocoding-api.open-meteo.com.",
    )

    response_cache_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1024,
        description="Answers kept in the live store for exact repeats, a quarter of it for one organisation; what ends "
        "soonest goes first.",
    )
    response_cache_entry_bytes: int = Field(
        default=256 * 1024, ge=1024, description="Largest answer kept for exact repeats."
    )
    moderation_url: str | None = Field(
        default=None,
        description="Base URL of the moderator, which speaks OpenAI's POST /moderations. Unset: OpenAI where its key "
        "is set, else the sandbox where it runs, else there is none.",
    )
    moderation_key_env: str = Field(
        default="OPENAI_API_KEY", description="Name of the variable that holds the key of the moderator."
    )
    moderation_model: str = Field(default="omni-moderation-latest", description="The model that moderates.")
    moderation_seconds: float = Field(
        default=3.0, gt=0, le=30, description="How long the moderator may take, over all tries."
    )
    moderation_failure: Literal["closed", "open"] = Field(
        default="closed",
        description="What holds while the moderator does not answer: `closed` refuses with 503, `open` lets texts pass "
        "unchecked, which the fact about the turn tells.",
    )
    chat_store: Literal["off", "metadata", "full"] = Field(
        default="full",
        description="What sessions keep of turns. `full`: the texts of those whose request or config asks for it with "
        "`store`, of others with a named session how they ended. `metadata`: never a text. `off`: nothing.",
    )
    session_bytes: int = Field(
        default=1024 * 1024,
        ge=64 * 1024,
        description="Texts that one session keeps; past it the oldest turns go.",
    )
    session_turn_bytes: int = Field(
        default=256 * 1024,
        ge=16 * 1024,
        description="Texts that one turn keeps; of a larger one images and files are left out, and then all of it.",
    )
    hot_sessions_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1024 * 1024,
        description="How much of sessions the live store holds for the turns that come next; past it those that were "
        "not used for longest go, and are read from telemetry again.",
    )
    hot_session_seconds: int = Field(
        default=3600, ge=10, description="How long the live store holds a session that nobody uses."
    )
    session_mark: str = Field(
        default=MARK,
        max_length=500,
        description="What stands before the words of a user who has cut the assistant off, for the model to know; "
        "empty for nothing. A config may say otherwise.",
    )

    @field_validator("tool_networks")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        networks(value)
        return value
