"""Settings of media, beside those every service shares."""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from common.kernel.settings import CommonSettings
from common.providers.addresses import networks

VIDEO_PROVIDERS = frozenset({"runware", "local"})
EXPRESSION_PROVIDERS = frozenset({"hume", "hume-batch", "local"})


EMBEDDING_MODELS = frozenset({"all-minilm-l6-v2", "bge-small-en-v1.5"})
# It becomes part of the name of an index.
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+@-]{0,99}")
RERANK_MODELS = frozenset({"minilm-l4-reranker"})


class MediaSettings(CommonSettings):
    """Which providers make what, and how much of it there may be at once."""

    sandbox_url: str | None = Field(
        default=None, description="Where the provider sandbox listens; it stands in for providers without a key."
    )
    public_url: str | None = Field(
        default=None,
        description="Where the gateway is for the rest of the world, such as https://api.example.com. Providers call "
        "back there when a job is done; unset, they are asked until it is.",
    )
    runware_api_key: SecretStr = Field(
        default=SecretStr(""),
        description="API key of the account at Runware. Without one the sandbox stands in, if it runs.",
    )
    runware_base_url: str = Field(default="https://api.runware.ai/v1", description="Where Runware's REST interface is.")
    media_networks: str = Field(
        default="",
        description="Comma list of networks of your own from which media may be fetched by URL, such as 10.1.0.0/16; "
        "all other private addresses are refused.",
    )
    video_providers: str = Field(
        default="runware,local",
        description="Comma list of who makes videos, in the order in which they are tried: runware, or local, which "
        "renders a plain clip of the prompt's words here. One without a key is passed over.",
    )
    video_wait_seconds: float = Field(
        default=900.0, gt=0, description="How long a provider may take for a video before the next one is tried."
    )
    job_days: float = Field(
        default=7.0, gt=0, description="Days after its end for which a job is kept, with the files that it made."
    )
    video_jobs: int = Field(
        default=200, ge=1, description="Video jobs at work in a process; most of them wait for a provider."
    )
    expression_providers: str = Field(
        default="hume,hume-batch,local",
        description="Comma list of who measures expressions, in the order in which they are asked: hume (files), "
        "hume-batch (jobs, as Hume had them until June 2026), or local, which has no model of expressions: it finds "
        "faces, and tells pitch, energy, pace and pauses of a voice. One without a key is passed over.",
    )
    hume_measurement_key: SecretStr = Field(
        default=SecretStr(""),
        description="API key for expression measurement by files, which Hume gives out apart from others. Without one "
        "the sandbox stands in, if it runs.",
    )
    hume_measurement_url: str = Field(
        default="https://api.cloud.hume.ai", description="Where expression measurement by files is."
    )
    hume_batch_key: SecretStr = Field(
        default=SecretStr(""),
        description="API key for expression measurement by jobs. Without one the sandbox stands in, if it runs.",
    )
    hume_batch_url: str = Field(default="https://api.hume.ai", description="Where expression measurement by jobs is.")
    max_expression_seconds: float = Field(
        default=7200.0, gt=0, description="Longest file that is measured; a longer one fails with `media_too_long`."
    )
    max_expression_bytes: int = Field(
        default=512 * 1024 * 1024, ge=1, description="Largest file that is fetched from a URL to be measured."
    )
    expression_wait_seconds: float = Field(
        default=1800.0, gt=0, description="How long a job of measurement at a provider may take."
    )
    expression_jobs: int = Field(default=8, ge=1, description="Jobs of expression measurement at work in a process.")
    max_analysis_seconds: float = Field(
        default=14400.0, gt=0, description="Longest file that is analysed; a longer one fails with `media_too_long`."
    )
    analysis_jobs: int = Field(default=4, ge=1, description="Content analyses at work in a process.")
    models_dir: Path | None = Field(
        default=None,
        description="The folder with files of models, which `sonant models fetch` fills. Unset: `models` in the data "
        "directory.",
    )
    max_asset_bytes: int = Field(
        default=1024 * 1024 * 1024, ge=1, description="Largest file that is kept, uploaded or made."
    )
    organization_asset_bytes: int = Field(
        default=20 * 1024 * 1024 * 1024,
        ge=0,
        description="Bytes of all files that one organisation may keep; with more, uploads get 429 and jobs fail.",
    )
    upload_days: float = Field(
        default=30.0,
        ge=0,
        description="Days after which an upload is deleted, where it was not uploaded for longer or less. 0 keeps it "
        "until somebody deletes it. What a job made goes with the job.",
    )
    asset_sweep_seconds: float = Field(
        default=600.0, gt=0, description="How often files that nobody needs are looked for: expired, or left over."
    )
    asset_orphan_seconds: float = Field(
        default=86400.0,
        ge=60,
        description="Age from which a stored file without a row is deleted, and one that was never finished; longer "
        "than any upload may take.",
    )
    media_processes: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Processes that render, decode and measure, at the lowest priority. They start when they are "
        "needed, and end after a minute without work.",
    )
    media_process_seconds: float = Field(
        default=300.0, gt=0, description="Most seconds of the processor that one such piece of work may take."
    )
    media_process_bytes: int = Field(
        default=1024 * 1024 * 1024,
        ge=256 * 1024 * 1024,
        description="Most memory of one such process; with more its work ends as failed.",
    )
    speech_providers: str = Field(
        default="hume,openai,local",
        description="Comma list of who speaks, in the order in which they are tried: hume, openai, or local, which is "
        "an English voice on this machine. One without a key is passed over.",
    )
    hume_api_key: SecretStr = Field(
        default=SecretStr(""),
        description="The key of the account at Hume that speaks. Unset: the sandbox where it runs.",
    )
    hume_organizations: str = Field(
        default="",
        description="Comma list of the organisations with an account of their own at Hume, each with the variable of "
        "its key: acme=ACME_HUME_KEY. Resources has the same setting.",
    )
    hume_base_url: str = Field(default="https://api.hume.ai", description="Where Hume's API is.")
    hume_speech_version: Literal["", "1", "2"] = Field(
        default="", description="The version of Octave, 1 or 2. Unset leaves it to Hume."
    )
    hume_speech_usd: float = Field(
        default=100.0,
        ge=0,
        description="What a million characters cost at Hume, in US dollars, for the costs in facts. By your plan.",
    )
    speech_key_env: str = Field(
        default="OPENAI_API_KEY", description="Which variable holds the key of the OpenAI-compatible speech endpoint."
    )
    speech_url: str | None = Field(
        default=None,
        description="Base address of another server with OpenAI's speech endpoint, with /v1. Unset: OpenAI.",
    )
    speech_model: str = Field(default="gpt-4o-mini-tts", description="Which model of that endpoint speaks.")
    speech_usd: float = Field(
        default=15.0, ge=0, description="What a million characters cost there, in US dollars, for the costs in facts."
    )
    speech_seconds: float = Field(
        default=1800.0, gt=0, description="How long one answer may take to be spoken and read, from its request on."
    )
    speech_workers: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Processes that join and encode speech. They start when they are needed, as does the one that "
        "speaks with the voice of this machine.",
    )
    speech_jobs: int = Field(default=16, ge=1, description="Speech jobs at work in a process.")
    speech_keep_days: float = Field(
        default=30.0, gt=0, description="What was spoken is kept for so long since it was last used."
    )
    speech_kept_bytes: int = Field(
        default=1024 * 1024 * 1024,
        ge=0,
        description="How much of what was spoken is kept for one organisation; past it what was used least goes.",
    )

    script_key_env: str = Field(
        default="OPENAI_API_KEY", description="Which variable holds the key of the model that writes scripts of films."
    )
    script_url: str | None = Field(
        default=None,
        description="Base address of the OpenAI-compatible server with that model, with /v1. Unset: OpenAI where there "
        "is a key, else nobody, and scripts are made by templates.",
    )
    script_model: str = Field(default="gpt-4o-mini", description="Which model writes scripts.")
    organization_songs: int = Field(
        default=200_000, ge=1, le=500_000, description="Most songs of one organisation; the index keeps them in memory."
    )
    spotify_client_id: str = Field(
        default="",
        description="Client id of an app at Spotify, for metadata of songs. Without one the sandbox stands in, if it "
        "runs.",
    )
    spotify_client_secret: SecretStr = Field(default=SecretStr(""), description="The secret of that app.")
    spotify_accounts_url: str = Field(
        default="https://accounts.spotify.com", description="Where Spotify gives out tokens."
    )
    spotify_api_url: str = Field(default="https://api.spotify.com/v1", description="Where Spotify's Web API is.")
    embedding_model: str = Field(
        default="all-minilm-l6-v2",
        description="The model that makes the vectors of documents: all-minilm-l6-v2, or bge-small-en-v1.5, which "
        "finds a little more and takes twice as long. With another one all vectors are made anew in the background, "
        "and searched from the moment all of them are there.",
    )
    embedding_url: str | None = Field(
        default=None,
        description="Base address of a server with OpenAI's embeddings endpoint, with /v1, that makes the vectors in "
        "place of this machine; `embedding_model` is then a model there, or an alias of Sonant.",
    )
    embedding_key_env: str = Field(
        default="OPENAI_API_KEY", description="Which variable holds the key of that embeddings endpoint."
    )
    embedding_dimensions: int = Field(
        default=384, ge=8, le=4000, description="How many numbers the vectors of that endpoint are asked to have."
    )
    rerank_model: str = Field(
        default="minilm-l4-reranker",
        description="The model that looks at the best passages once more. Empty for none: searches that ask for it get "
        "the fused order.",
    )
    rerank_url: str | None = Field(
        default=None,
        description="Base address, with /v1, of a server that reranks with `POST /rerank`, as Cohere, Jina and vLLM "
        "have it, in place of this machine; `rerank_model` is then a model there.",
    )
    rerank_key_env: str = Field(default="OPENAI_API_KEY", description="Which variable holds the key of that server.")
    embedding_processes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Processes that make the vectors of documents, behind everything else on the machine. Questions "
        "have one of their own.",
    )
    document_jobs: int = Field(
        default=4, ge=1, description="Documents that are taken in at the same time in a process."
    )
    max_document_bytes: int = Field(
        default=50 * 1024 * 1024, ge=1, description="Largest file that is taken in as a document."
    )
    document_pages: int = Field(default=2000, ge=1, description="Most pages of a PDF that is taken in.")
    document_characters: int = Field(default=5_000_000, ge=1, description="Most characters of a document's text.")
    document_chunks: int = Field(default=10_000, ge=1, description="Most chunks of a document.")

    @property
    def speech_order(self) -> tuple[str, ...]:
        """The providers of speech, in the order in which they are tried."""
        return tuple(name.strip() for name in self.speech_providers.split(",") if name.strip())

    @field_validator("speech_providers")
    @classmethod
    def _can_speak(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",") if name.strip()]
        if not names or len(set(names)) < len(names) or not set(names) <= {"hume", "openai", "local"}:
            raise ValueError("a comma list of hume, openai and local is expected, each at most once")
        return value

    webhook_networks: str = Field(
        default="",
        description="Comma list of networks that webhooks may be sent to beside public addresses, such as 10.1.0.0/16.",
    )
    webhook_requests: int = Field(
        default=64, ge=1, le=1000, description="Webhooks that a process sends at the same time."
    )
    webhook_seconds: float = Field(
        default=15.0, gt=0, le=50, description="How long a webhook endpoint may take to answer, in seconds."
    )
    webhook_delays: str = Field(
        default="5,300,1800,7200,18000,36000,36000",
        description="Comma list of the seconds after which a webhook that was not received is sent again; behind the "
        "last it is listed as failed.",
    )
    webhook_log_days: float = Field(
        default=30.0, gt=0, description="How long webhook deliveries are listed and can be sent once more."
    )
    webhook_answers_seconds: int = Field(
        default=86400,
        ge=60,
        description="How long the answer to a command about webhooks is kept for a repetition of it.",
    )

    @field_validator("video_providers")
    @classmethod
    def _are_known(cls, value: str) -> str:
        named = _parts(value)
        if unknown := sorted(set(named) - VIDEO_PROVIDERS):
            raise ValueError(f"{unknown[0]!r} makes no videos; expected are {', '.join(sorted(VIDEO_PROVIDERS))}")
        if not named:
            raise ValueError("name at least one")
        return value

    @field_validator("expression_providers")
    @classmethod
    def _measure(cls, value: str) -> str:
        named = _parts(value)
        if unknown := sorted(set(named) - EXPRESSION_PROVIDERS):
            raise ValueError(
                f"{unknown[0]!r} measures no expressions; expected are {', '.join(sorted(EXPRESSION_PROVIDERS))}"
            )
        if not named:
            raise ValueError("name at least one")
        return value

    @model_validator(mode="after")
    def _embeds(self) -> Self:
        if self.embedding_url is None:
            _one_of(self.embedding_model, EMBEDDING_MODELS)
        elif not MODEL_NAME.fullmatch(self.embedding_model) or self.embedding_model in EMBEDDING_MODELS:
            raise ValueError(f"embedding_model: {self.embedding_model!r} cannot be a model at embedding_url")
        return self

    @model_validator(mode="after")
    def _reranks(self) -> Self:
        if self.rerank_url is None:
            if self.rerank_model:
                _one_of(self.rerank_model, RERANK_MODELS)
        elif not MODEL_NAME.fullmatch(self.rerank_model) or self.rerank_model in RERANK_MODELS:
            raise ValueError(f"rerank_model: {self.rerank_model!r} cannot be a model at rerank_url")
        return self

    @field_validator("media_networks", "webhook_networks")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        networks(value)
        return value

    @field_validator("webhook_delays")
    @classmethod
    def _are_delays(cls, value: str) -> str:
        if not 1 <= len(_seconds(value)) <= 20 or not all(0 < each <= 7 * 86400 for each in _seconds(value)):
            raise ValueError("1 to 20 numbers of seconds, each above 0 and at most a week")
        return value

    def delays(self) -> tuple[float, ...]:
        """What comes between two tries of a webhook, in seconds."""
        return _seconds(self.webhook_delays)

    @property
    def expression_order(self) -> list[str]:
        """Who measures expressions, in order."""
        return list(dict.fromkeys(_parts(self.expression_providers)))

    @property
    def video_order(self) -> list[str]:
        """Who makes videos, in order."""
        return list(dict.fromkeys(_parts(self.video_providers)))


def _one_of(value: str, known: frozenset[str]) -> str:
    if value not in known:
        raise ValueError(f"no model {value!r} is known; expected is one of {', '.join(sorted(known))}")
    return value


def _parts(text: str) -> list[str]:
    return [stripped for part in text.split(",") if (stripped := part.strip())]


def _seconds(text: str) -> tuple[float, ...]:
    return tuple(float(each) for each in text.split(",") if each.strip())
