"""Settings of llm-stream."""

from pathlib import Path

from pydantic import Field

from common.kernel.settings import CommonSettings


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
    resume_seconds: int = Field(
        default=120, ge=1, description="How long after its end an answer can still be read again by its id."
    )
    max_answer_bytes: int = Field(
        default=8 * 1024 * 1024, ge=1024, description="Largest answer relayed; a longer one is ended with an error."
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
