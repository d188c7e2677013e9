"""The policy of an organisation: what of its interactions is kept, for how long, and what is masked."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# A partition of the store for each of them, so there are few.
RetentionDays = Literal[1, 7, 14, 30, 90, 180, 365, 730]
MAX_PATTERNS = 50


class Strictly(BaseModel):
    """A part of a policy: a misspelt rule would not be one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModePolicy(Strictly):
    """How interactions of a mode are kept. `retention_days` None is what the installation keeps by itself.

    `sampling` is the share that is stored, by session; the rest is counted and dropped.
    """

    retention_days: RetentionDays | None = None
    sampling: Annotated[float, Field(ge=0, le=1)] = 1.0


class OwnPattern(Strictly):
    """A rule of the organisation's own: a pattern of RE2, and what stands in the place of what it finds."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    pattern: Annotated[str, Field(min_length=1, max_length=500)]
    replacement: Annotated[str, Field(max_length=100)] | None = None


class MaskingPolicy(Strictly):
    """Which rules are applied before anything is stored; the built-in ones are, unless they are switched off."""

    email: bool = True
    phone: bool = True
    card: bool = True
    keys: bool = True
    # Not strictly a tuple: JSON has lists.
    patterns: Annotated[tuple[OwnPattern, ...], Field(max_length=MAX_PATTERNS, strict=False, fail_fast=True)] = ()


class TelemetryPolicy(Strictly):
    """Everything an organisation may say about its telemetry."""

    prod: ModePolicy = ModePolicy()
    dev: ModePolicy = ModePolicy()
    masking: MaskingPolicy = MaskingPolicy()

    def of_mode(self, mode: str) -> ModePolicy:
        """The part that holds for a mode."""
        return self.dev if mode == "dev" else self.prod
