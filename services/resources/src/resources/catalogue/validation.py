"""What may be stored: the bodies of the four kinds, in the provider's field names and within its ranges."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from common.events import prompt_variables
from common.events.first_error import FewUnknown
from common.events.resource_terms import MAX_TOOLS, Kind
from common.failures import Refused
from common.secret_box import PREFIX
from resources.catalogue.retrieval_rules import RetrievalRules
from resources.catalogue.tool_parameters import parameters
from resources.resource_ids import MAX_VERSION, is_id

# What steers one conversation; a flag that nobody looks at any more should go.
MAX_FLAGS = 50
# Where something comes from takes a few sentences and a prompt.
MAX_PROVENANCE_BYTES = 64 * 1024


# -- texts -----------------------------------------------------------------------------------------------------


def _storable(value: str) -> str:
    # The one character PostgreSQL cannot keep, and halves of characters that have no UTF-8.
    if "\0" in value:
        raise ValueError("must not contain NUL")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain surrogates") from None
    return value


def _printable(value: str) -> str:
    if not value.strip() or value != value.strip():
        raise ValueError("must not be empty or begin or end with white space")
    if any(not character.isprintable() for character in value):
        raise ValueError("must consist of printable characters")
    return value


def text(value: str, param: str) -> str:
    """A text the database can be asked for; raises `Refused` (400)."""
    try:
        return _storable(value)
    except ValueError as error:
        raise Refused(400, f"'{param}' {error}.", "invalid_value", param) from None


def plain(value: Mapping[str, Any], param: str) -> None:
    """Raises `Refused` (400) for a JSON value that the database cannot keep, or that is too large."""
    try:
        encoded = orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise Refused(400, f"'{param}' is no JSON.", "invalid_value", param) from None
    if len(encoded) > MAX_PROVENANCE_BYTES:
        raise Refused(400, f"'{param}' is larger than {MAX_PROVENANCE_BYTES} bytes.", "invalid_value", param)
    text(encoded.decode().replace("\\u0000", "\0"), param)


def _https(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("must be an https URL")
    return value


def _http(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https URL")
    return value


def _sealed(value: str) -> str:
    if not value.startswith(PREFIX):
        raise ValueError("must be sealed")
    return value


def _identifier(value: str) -> str:
    if not is_id(value):
        raise ValueError("is no id")
    return value


def _whole(value: Any) -> Any:
    # JSON knows one kind of number: 60.0 is the integer 60.
    return int(value) if isinstance(value, float) and value.is_integer() else value


Stored = AfterValidator(_storable)
Whole = Annotated[int, Field(strict=True), BeforeValidator(_whole)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable), Stored]
# What models accept as the name of a function.
ToolName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_\-]{0,63}$")]
Id = Annotated[str, AfterValidator(_identifier)]
Version = Annotated[Whole, Field(ge=0, le=MAX_VERSION)]
Line = Annotated[str, Field(max_length=1000), Stored]
# The provider stops at some thousand tokens; this leaves room for every language.
PromptText = Annotated[str, Field(min_length=1, max_length=100_000), Stored]
Url = Annotated[str, Field(max_length=2000), AfterValidator(_https), Stored]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]


class _Part(FewUnknown):
    model_config = ConfigDict(extra="forbid")


# -- the parts of a config -------------------------------------------------------------------------------------


class PromptExpansion(_Part):
    enabled: Flag


class PromptReference(_Part):
    """A stored prompt by id, or the text itself."""

    id: Id | None = None
    version: Version | None = None
    text: PromptText | None = None
    prompt_expansion: PromptExpansion | None = None

    @model_validator(mode="after")
    def _one_of(self) -> "PromptReference":
        if (self.id is None) == (self.text is None):
            raise ValueError("must have either an id or a text")
        if self.text is not None and self.version is not None:
            raise ValueError("must not have a version beside a text")
        return self


class VoiceReference(_Part):
    """A voice by id or by name."""

    provider: Literal["HUME_AI", "CUSTOM_VOICE"]
    id: Id | None = None
    name: Name | None = None

    @model_validator(mode="after")
    def _one_of(self) -> "VoiceReference":
        if (self.id is None) == (self.name is None):
            raise ValueError("must have either an id or a name")
        return self


ModelProvider = Literal[
    "GROQ",
    "OPEN_AI",
    "FIREWORKS",
    "ANTHROPIC",
    "CUSTOM_LANGUAGE_MODEL",
    "GOOGLE",
    "HUME_AI",
    "AMAZON_BEDROCK",
    "PERPLEXITY",
    "SAMBANOVA",
    "CEREBRAS",
    "X_AI",
]


class LanguageModel(_Part):
    model_provider: ModelProvider
    model_resource: Annotated[str, Field(min_length=1, max_length=2000), Stored]
    temperature: Annotated[Number, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _reachable(self) -> "LanguageModel":
        if self.model_provider == "CUSTOM_LANGUAGE_MODEL":
            _https(self.model_resource)
        return self


class EllmModel(_Part):
    allow_short_responses: Flag


class ToolReference(_Part):
    id: Id
    version: Version | None = None


class BuiltinTool(_Part):
    name: Literal["web_search", "hang_up"]
    fallback_content: Line | None = None


class EventMessage(_Part):
    enabled: Flag
    text: Line | None = None


class EventMessages(_Part):
    on_new_chat: EventMessage | None = None
    on_inactivity_timeout: EventMessage | None = None
    on_max_duration_timeout: EventMessage | None = None


class _Timeout(_Part):
    enabled: Flag


class Inactivity(_Timeout):
    duration_secs: Annotated[Whole, Field(ge=30, le=1800)] | None = None


class MaxDuration(_Timeout):
    duration_secs: Annotated[Whole, Field(ge=30, le=1800)] | None = None


AnswerSeconds = Annotated[Number, Field(ge=0.1, le=600)]


class AnswerTimeouts(_Part):
    """How long a model may be silent in a turn: before its first token, between two, and whole where not streamed."""

    first_token_secs: AnswerSeconds | None = None
    silence_secs: AnswerSeconds | None = None
    whole_secs: AnswerSeconds | None = None


class Timeouts(_Part):
    """`inactivity` and `max_duration` are for the voice platform, `answer` for Sonant."""

    inactivity: Inactivity | None = None
    max_duration: MaxDuration | None = None
    answer: AnswerTimeouts | None = None


class Nudges(_Part):
    enabled: Flag
    interval_secs: Annotated[Whole, Field(ge=1, le=1800)] | None = None


class TurnDetection(_Part):
    end_of_turn_silence_ms: Annotated[Whole, Field(ge=500, le=3000)] | None = None
    prefix_padding_ms: Annotated[Whole, Field(ge=0, le=1000)] | None = None
    speech_detection_threshold: Annotated[Number, Field(ge=0, le=1)] | None = None


class Interruption(_Part):
    min_interruption_ms: Annotated[Whole, Field(ge=50, le=2000)] | None = None


def _with_place(value: str) -> str:
    if "{scores}" not in value:
        raise ValueError("must have a place for '{scores}'")
    return value


class ProsodySummary(_Part):
    """How the user sounds, in words for the model: the strongest `number` scores, in at most `tokens` by estimate."""

    template: Annotated[str, Field(max_length=500), AfterValidator(_with_place), Stored] = "(They sound: {scores}.)"
    number: Annotated[Whole, Field(ge=1, le=48)] = 3
    tokens: Annotated[Whole, Field(ge=8, le=400)] = 40


def _few(most: int, what: str) -> Callable[[Any], Any]:
    """A check before all others: each wrong entry of a large object would be an error of its own."""

    def check(value: Any) -> Any:
        if isinstance(value, Mapping) and len(value) > most:
            raise ValueError(f"must have at most {most} {what}")
        return value

    return check


def _not_built_in(name: str) -> str:
    if name in prompt_variables.BUILT_IN:
        raise ValueError(f"'{name}' is filled by Sonant and cannot be declared")
    return name


class Variable(_Part):
    """A variable of prompt and greeting: with a default, or `required` in every request."""

    default: Annotated[str, Field(max_length=prompt_variables.MAX_VALUE_CHARS), Stored] | None = None
    required: Flag | None = None

    @model_validator(mode="after")
    def _one_of(self) -> "Variable":
        if (self.default is None) == (self.required is not True):
            raise ValueError("must have either a default or 'required': true")
        return self


VariableName = Annotated[
    str, Field(pattern=rf"^{prompt_variables.NAME.pattern}$"), AfterValidator(_not_built_in), Stored
]
Variables = Annotated[dict[VariableName, Variable], BeforeValidator(_few(prompt_variables.MAX_VARIABLES, "variables"))]
FlagName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")]
FlagValue = Flag | Number | Annotated[str, Field(strict=True, max_length=200), Stored]
Flags = Annotated[dict[FlagName, FlagValue], BeforeValidator(_few(MAX_FLAGS, "flags"))]


class SummaryRules(_Part):
    """Which alias sums up what no longer fits, and in how many tokens."""

    alias: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:/+-]{1,200}$"), Stored]
    tokens: Annotated[Whole, Field(ge=50, le=2000)] | None = None


class SessionRules(_Part):
    """Whether the texts of sessions are kept, and what the model is told where a user has cut it off ("": nothing).

    With `summary` it is told in short what its window has no room for.
    """

    store: bool | None = None
    interruption_mark: Annotated[str, Field(max_length=500), Stored] | None = None
    summary: SummaryRules | None = None


class Webhook(_Part):
    url: Url
    events: Annotated[
        list[Literal["chat_started", "chat_ended", "tool_call"]], Field(min_length=1, max_length=3, fail_fast=True)
    ]


# -- bodies ----------------------------------------------------------------------------------------------------


class _Body(_Part):
    version_description: Line | None = None


class PromptVersion(_Body):
    text: PromptText
    prompt_expansion: PromptExpansion | None = None


class RunOfTool(_Part):
    """How Sonant runs a tool. Its secret has been sealed on its way here."""

    builtin: ToolName | None = None
    url: Annotated[str, Field(max_length=2000), AfterValidator(_http), Stored] | None = None
    secret: Annotated[str, Field(max_length=2000), AfterValidator(_sealed), Stored] | None = None
    seconds: Annotated[Number, Field(ge=0.1, le=60)] | None = None
    on_interrupt: Literal["cancel", "finish"] | None = None
    filler: Annotated[str, Field(min_length=1, max_length=500), Stored] | None = None
    filler_after: Annotated[Number, Field(ge=0, le=60)] | None = None

    @model_validator(mode="after")
    def _one_of(self) -> "RunOfTool":
        if (self.builtin is None) == (self.url is None):
            raise ValueError("must have either a builtin or a url")
        if self.secret is not None and self.url is None:
            raise ValueError("must not have a secret without a url")
        return self


class ToolVersion(_Body):
    parameters: Annotated[str, BeforeValidator(parameters)]
    description: Annotated[str, Field(max_length=4000), Stored] | None = None
    fallback_content: Annotated[str, Field(max_length=4000), Stored] | None = None
    run: RunOfTool | None = None


class ConfigVersion(_Body):
    evi_version: Literal["3", "4-mini"]
    prompt: PromptReference | None = None
    voice: VoiceReference | None = None
    language_model: LanguageModel | None = None
    ellm_model: EllmModel | None = None
    tools: Annotated[list[ToolReference], Field(max_length=MAX_TOOLS, fail_fast=True)] | None = None
    builtin_tools: Annotated[list[BuiltinTool], Field(max_length=2, fail_fast=True)] | None = None
    event_messages: EventMessages | None = None
    timeouts: Timeouts | None = None
    nudges: Nudges | None = None
    turn_detection: TurnDetection | None = None
    interruption: Interruption | None = None
    prosody: ProsodySummary | None = None
    variables: Variables | None = None
    flags: Flags | None = None
    session: SessionRules | None = None
    retrieval: RetrievalRules | None = None
    webhooks: Annotated[list[Webhook], Field(max_length=10, fail_fast=True)] | None = None

    @model_validator(mode="after")
    def _once_each(self) -> "ConfigVersion":
        for named in ([tool.id for tool in self.tools or ()], [tool.name for tool in self.builtin_tools or ()]):
            if len(set(named)) < len(named):
                raise ValueError("must not name a tool twice")
        return self

    @model_validator(mode="after")
    def _remembers_what_is_kept(self) -> "ConfigVersion":
        if self.retrieval is not None and self.retrieval.memory and not (self.session and self.session.store):
            raise ValueError("must have 'session': {'store': true} where 'retrieval' has a memory")
        return self


class VoiceVersion(_Body):
    """`generation_id` is the speech it was made from, which the provider wants; our own catalogue does without."""

    generation_id: Id | None = None
    provider: Literal["HUME_AI", "CUSTOM_VOICE"] = "CUSTOM_VOICE"
    description: Line | None = None
    compatible_octave_models: (
        Annotated[list[Annotated[str, Field(max_length=20), Stored]], Field(max_length=10, fail_fast=True)] | None
    ) = None


class NewPrompt(PromptVersion):
    name: Name


class NewTool(ToolVersion):
    name: ToolName


class NewConfig(ConfigVersion):
    name: Name


class NewVoice(VoiceVersion):
    name: Name


NEW: Mapping[Kind, type[_Body]] = {"prompt": NewPrompt, "tool": NewTool, "config": NewConfig, "voice": NewVoice}
VERSION: Mapping[Kind, type[_Body]] = {
    "prompt": PromptVersion,
    "tool": ToolVersion,
    "config": ConfigVersion,
    "voice": VoiceVersion,
}


class _Renamed(_Part):
    name: Name


class _ToolRenamed(_Part):
    name: ToolName


class _Described(_Part):
    version_description: Line


def new_resource(kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a new resource as it is stored; raises `Refused` (400, naming the field)."""
    return _checked(NEW[kind], body)


def new_version(kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a new version, which has no name of its own; raises `Refused` (400, naming the field)."""
    return _checked(VERSION[kind], body)


def edit(kind: Kind, name: str | None, version: int | None, description: str | None) -> bool:
    """Whether this renames (else it describes a version); raises `Refused` (400)."""
    if (name is None) == (description is None):
        raise Refused(400, "Give either 'name' or 'version_description'.", "invalid_value", "name")
    if name is not None:
        _checked(_ToolRenamed if kind == "tool" else _Renamed, {"name": name})
        return True
    if version is None:
        raise Refused(400, "Which version is described? Give 'version'.", "missing_required_parameter", "version")
    _checked(_Described, {"version_description": description})
    return False


def _checked(model: type[BaseModel], body: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return model.model_validate(body).model_dump(exclude_none=True)
    except ValidationError as error:
        raise refused(error) from None


def refused(error: ValidationError) -> Refused:
    """The first problem as a 400 that names the field."""
    first = error.errors(include_url=False, include_input=False)[0]
    param = ".".join(str(part) for part in first["loc"])[:200] or None
    message = first["msg"].removeprefix("Value error, ")
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
    return Refused(400, f"'{param}': {message}" if param else f"The body {message}", code, param)
