"""Model aliases: what a caller names, and the ordered upstreams that answer for it.

One TOML file, read at boot and again on SIGHUP; a file that does not parse leaves the running table in place.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

OPENAI_URL = "https://api.openai.com/v1"
OPENAI_DEFAULT_MODEL = "gpt-4o-mini"
# It says its words one by one, as models do: what comes all at once cannot be interrupted.
SANDBOX_MODEL = "sandbox+first-100+delay-40"
OPENAI_EMBEDDING_MODEL = "text-embedding-3-small"

Seconds = Annotated[float, Field(gt=0, le=600)]
# Which fields of a request an upstream gets: OpenAI's alone, or every one; by default all but those of voice platforms.
Fields = Literal["strict", "all"]
# What counts the tokens of a conversation: a tokenizer that is known, or the length of its texts.
TokenizerName = Literal["o200k_base", "cl100k_base", "estimate"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:/+-]{1,200}$")]


class ModelsFileError(Exception):
    """The models file cannot be read or contradicts itself; `problems` has a line for each place."""

    def __init__(self, file: Path, problems: Sequence[str]) -> None:
        super().__init__(f"{file}: {'; '.join(problems)}")
        self.file = file
        self.problems = problems


class _Section(BaseModel):
    # The texts below the fields are the reference of the file: deploy/reference/models-file.md.
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


# A token for more than a dollar is a slip of the pen; what an answer costs stays a number.
MAX_PRICE = 1_000_000.0


# Beyond any model; counts stay numbers that every reader of facts can hold.
MAX_CONTEXT_TOKENS = 100_000_000


class Price(_Section):
    """USD per million tokens."""

    input: float = Field(default=0.0, ge=0, le=MAX_PRICE)
    """Of the prompt."""
    output: float = Field(default=0.0, ge=0, le=MAX_PRICE)
    """Of the answer."""

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """USD of one answer."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1_000_000


class Upstream(_Section):
    """One OpenAI-compatible endpoint with the model it serves."""

    name: Name
    """How facts, metrics and logs call it; unique within its alias."""
    base_url: str = Field(pattern=r"^https?://")
    """Where it is, up to what stands before `/chat/completions`: mostly it ends in `/v1`."""
    model: str = Field(min_length=1)
    """The model that it is asked for."""
    key_env: str | None = None
    """The environment variable that holds its key, never the key; without one it is asked with none."""
    provider: str = "openai"
    """What answers say of who stands behind them; `sandbox` is told in the header `x-sonant-provider`."""
    price: Price = Price()
    """What it costs, for `cost_usd` of the facts and for budgets of keys."""
    fields: Fields | None = None
    """Which fields of a request it gets: `strict` those of OpenAI, `all` every one; by default all but those of voice
    platforms."""
    capabilities: frozenset[Literal["stream_usage", "tools", "done", "developer", "base64"]] = frozenset(
        {"stream_usage", "tools", "done", "base64"}
    )
    """What it can do. `stream_usage`: understands `stream_options.include_usage`. `tools`: calls functions.
    `developer`: knows the role of that name, which is `system` for all others. `base64`: sends vectors in base64.
    `done` says nothing any more."""

    def key(self, environment: Mapping[str, str] = os.environ) -> str | None:
        """The secret named by `key_env`; None where the upstream needs none. Raises KeyError when it is not set."""
        if self.key_env is None:
            return None
        # Compose files hand on variables that are not set as empty ones.
        if not (key := environment.get(self.key_env, "").strip()):
            raise KeyError(self.key_env)
        return key


class ToolFiller(_Section):
    """What a streamed answer says when tools take longer than `after` seconds."""

    text: str = Field(min_length=1, max_length=500)
    """The words."""
    after: float = Field(default=1.0, ge=0, le=60)
    """Seconds until they are said."""


class Alias(_Section):
    """A model name that callers use."""

    serves: Literal["chat", "embeddings"] = "chat"
    """What its upstreams make: answers to conversations, or vectors of texts."""
    same_vectors: bool = False
    """Said of embedding upstreams that name one model differently: vectors of two models cannot be compared."""
    upstreams: tuple[Upstream, ...] = Field(min_length=1, max_length=10)
    """Who answers, in the order in which they are asked."""
    release: Literal["tokens", "sentences"] | None = None
    """`sentences` holds text back to a sentence boundary, so that a fallback can continue cleanly from there;
    `tokens` passes every chunk on at once, and a stream that breaks after that ends in an error event."""
    first_byte_timeout: Seconds | None = None
    """Seconds of silence before the first token. Without a limit another upstream is asked after 10; where there is
    none, the deadline decides."""
    idle_timeout: Seconds | None = None
    """The same between two tokens."""
    whole_timeout: Seconds | None = None
    """Seconds for an answer that is not streamed; without a limit 60, in the same way."""
    connect_timeout: Seconds = 3.0
    """Seconds to connect to an upstream."""
    minimum_rate: float = Field(default=0.0, ge=0, le=1000)
    """Tokens a second that a stream must bring while another upstream could go on; 0 is no limit."""
    tries: int = Field(default=2, ge=1, le=5)
    """Tries per upstream in one turn, taken in turns with the others."""
    retry_first: int = Field(default=0, ge=0, le=5)
    """Tries on the first upstream before the next one is asked; 0 and 1 ask it at once."""
    wait_for_rate_limit: float = Field(default=0.0, ge=0, le=300)
    """A Retry-After of up to so many seconds is waited for before another upstream is asked."""
    larger: str | None = None
    """The alias that takes over when the conversation is too long for this one."""
    context_tokens: int | None = Field(default=None, ge=1, le=MAX_CONTEXT_TOKENS)
    """The context window: tokens of prompt and answer together. Without it nothing is counted and nothing cut."""
    answer_reserve: int = Field(default=1_024, ge=0, le=MAX_CONTEXT_TOKENS)
    """What of it is kept for the answer, where the request does not say how long that may be."""
    tokenizer: TokenizerName | None = None
    """By default the one that the upstreams' models are known to have."""

    @model_validator(mode="after")
    def _window_has_room(self) -> "Alias":
        if self.context_tokens is None:
            return self
        if self.serves == "embeddings":
            raise ValueError("context_tokens is of conversations, and nothing is cut from what vectors are made of")
        if self.answer_reserve >= self.context_tokens:
            raise ValueError("answer_reserve leaves nothing of context_tokens for the conversation")
        return self

    tools: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")], ...] = Field(
        default=(), max_length=64
    )
    """Tools that Sonant runs for it: built-in ones and those of Python packages, by name."""
    tool_filler: ToolFiller | None = None
    """What a streamed answer says while its tools take long."""
    cache_seconds: float | None = Field(default=None, gt=0, le=604_800)
    """Seconds for which an answer is kept for exact repeats; without it none is, unless a request or flag wants it."""
    moderation: frozenset[Literal["input", "output"]] = frozenset()
    """What is checked by the moderator: what users say, what the model answers."""

    @model_validator(mode="after")
    def _vectors_are_comparable(self) -> "Alias":
        if self.serves != "embeddings":
            return self
        if self.larger is not None:
            raise ValueError("larger would change the model of vectors, which cannot be compared then")
        if len({upstream.model for upstream in self.upstreams}) > 1 and not self.same_vectors:
            raise ValueError(
                "the upstreams name different models, whose vectors cannot be compared; "
                "same_vectors = true says that they are one model under several names"
            )
        return self

    @property
    def calls_tools(self) -> bool:
        """Whether any upstream can. Those that cannot are asked without: see `merge_request`."""
        return any("tools" in upstream.capabilities for upstream in self.upstreams)

    @property
    def holds_sentences(self) -> bool:
        """Text is held back by default only where somebody could continue it."""
        return (self.release or ("sentences" if len(self.upstreams) > 1 else "tokens")) == "sentences"


class AliasTable(_Section):
    """The whole table."""

    aliases: Mapping[Name, Alias] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All aliases, sorted."""
        return tuple(sorted(self.aliases))

    @model_validator(mode="after")
    def _larger_exists(self) -> "AliasTable":
        for name, alias in self.aliases.items():
            if alias.larger is None:
                continue
            if alias.larger not in self.aliases:
                raise ValueError(f"alias {name}: larger names {alias.larger}, which does not exist")
            if self.aliases[alias.larger].serves != "chat":
                raise ValueError(f"alias {name}: larger names {alias.larger}, which makes embeddings")
        return self

    @model_validator(mode="after")
    def _larger_ends(self) -> "AliasTable":
        for name, alias in self.aliases.items():
            seen, larger = {name}, alias.larger
            while larger is not None:
                if larger in seen:
                    raise ValueError(f"alias {name}: larger leads back to {larger}")
                seen.add(larger)
                larger = self.aliases[larger].larger
        return self


def load(
    file: Path | None,
    sandbox_url: str | None,
    environment: Mapping[str, str] = os.environ,
    *,
    local_model_url: str | None = None,
) -> AliasTable:
    """The table of `file`, or the built-in one; the model on this machine is in both. Raises ModelsFileError."""
    table = _built_in(sandbox_url, environment) if file is None else _of_file(file)
    if not local_model_url:
        return table
    local = _local(local_model_url)
    named = {"local": local} if file else {"local": local, "default": local}
    # What a file says of an alias of this name stands.
    return table.model_copy(update={"aliases": {**table.aliases, **named, **(table.aliases if file else {})}})


def _of_file(file: Path) -> AliasTable:
    try:
        table = AliasTable.model_validate(tomllib.loads(file.read_text()))
    except OSError as error:
        raise ModelsFileError(file, [error.strerror or str(error)]) from error
    except UnicodeDecodeError as error:
        raise ModelsFileError(file, ["is not encoded in utf-8"]) from error
    except ValidationError as error:
        raise ModelsFileError(file, _problems(error)) from error
    except tomllib.TOMLDecodeError as error:
        raise ModelsFileError(file, [f"is not TOML: {error}"]) from error
    if not table.aliases:
        # A file that is just being written looks like this, and would take every model away.
        raise ModelsFileError(file, ["no aliases"])
    return table


def _problems(error: ValidationError) -> list[str]:
    """`alias fast, upstream 2, modle: no such key; is model meant?`: one line for each place."""
    lines = []
    found = error.errors()
    for wrong in found:
        if any(_is_within(other["loc"], wrong["loc"]) for other in found):
            # Such as a list that is empty because what stands in it was refused.
            continue
        message = wrong["msg"].removeprefix("Value error, ")
        if wrong["type"] == "extra_forbidden":
            message = _unknown_key(str(wrong["loc"][-1]))
        elif wrong["type"] == "missing":
            message = "is missing"
        place = _place(wrong["loc"])
        lines.append(f"{place}: {message}" if place else message)
    return lines


def _is_within(path: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(path) > len(outer) and path[: len(outer)] == outer


def _place(path: tuple[int | str, ...]) -> str:
    """Where in the file, as somebody who reads it would say it; counts begin at one."""
    words: list[str] = []
    match path:
        case ("aliases", name, *rest):
            words.append(f"alias {name}")
        case _:
            rest = list(path)
    for step in rest:
        if isinstance(step, int):
            words[-1] = f"{words[-1].removesuffix('s')} {step + 1}" if words else str(step + 1)
        elif step != "[key]":
            words.append(str(step))
    return ", ".join(words)


def _unknown_key(key: str) -> str:
    keys = {name for section in (AliasTable, Alias, Upstream, Price, ToolFiller) for name in section.model_fields}
    near = difflib.get_close_matches(key, sorted(keys), n=1)
    return f"no such key; is {near[0]} meant?" if near else "no such key"


def _local(url: str) -> Alias:
    """The alias of the model on this machine: its window is that of one of two slots, and it calls no tools."""
    upstream = Upstream(
        name="local",
        base_url=f"{url.rstrip('/')}/v1",
        model="local",
        provider="local",
        capabilities=frozenset({"stream_usage", "done"}),
    )
    return Alias(upstreams=(upstream,), context_tokens=4_096, answer_reserve=512, tokenizer="estimate")


def _built_in(sandbox_url: str | None, environment: Mapping[str, str]) -> AliasTable:
    if sandbox_url and not environment.get("OPENAI_API_KEY"):
        chat = Upstream(name="sandbox", base_url=f"{sandbox_url}/v1", model=SANDBOX_MODEL, provider="sandbox")
    else:
        # Without its key it answers 503 that says so, which tells more than a model that is not there.
        chat = Upstream(name="openai", base_url=OPENAI_URL, model=OPENAI_DEFAULT_MODEL, key_env="OPENAI_API_KEY")
    vectors = chat.model_copy(update={"name": f"{chat.name}-embeddings", "model": OPENAI_EMBEDDING_MODEL})
    aliases = {"default": Alias(upstreams=(chat,)), "embeddings": Alias(upstreams=(vectors,), serves="embeddings")}
    return AliasTable(aliases=aliases)
