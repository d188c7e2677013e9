"""The codes, types, statuses and sentences by which servers say what went wrong, in lower case."""

import re


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


TOO_LONG = _names(
    "context_length_exceeded exceed_context_size_error context_window_exceeded contextwindowexceedederror "
    "model_context_window_exceeded prompt_too_long request_too_large string_above_max_length "
    "max_context_length_exceeded"
)
FILTERED = _names("content_filter content_policy_violation contentpolicyviolationerror responsibleaipolicyviolation")
RATE_LIMITED = _names(
    "rate_limit_exceeded rate_limit_error rate_limited ratelimiterror ratelimitreached too_many_requests "
    "toomanyrequests resource_exhausted throttling_error insufficient_quota requests tokens 429"
)
OVERLOADED = _names(
    "overloaded overloaded_error engine_overloaded engine_overloaded_error server_overloaded service_unavailable "
    "serviceunavailableerror unavailable unavailable_error service_tier_capacity_exceeded capacity_exceeded "
    "over_capacity model_loading slow_down 503 529"
)
OURS = _names(
    "invalid_api_key authentication_error authenticationerror unauthenticated unauthorized permission_error "
    "permission_denied permissiondeniederror forbidden billing_error model_not_found model_not_active "
    "deploymentnotfound not_found not_found_error notfounderror invalid_model api_key_invalid 401 402 403 404"
)
REFUSED = _names(
    "invalid_request_error badrequesterror bad_request badrequest bad_request_error invalid_argument validation "
    "validation_error unprocessable_entity unprocessableentityerror 400 422"
)

# vLLM, SGLang, OpenAI, OpenRouter · Groq · Anthropic · Gemini · llama.cpp · Mistral · TGI · xAI · Ollama, LM Studio.
# A limit per minute never reads like these.
TOO_LONG_WORDS = re.compile(
    r"maximum context length|maximum prompt length|context[ _](length|window|size)[^.]{0,20} exceeded"
    r"|(length of|reduce) (the |your )?(messages|prompt)[^.]{0,30}(completion|\.|$)"
    r"|context length is only \d+|reduce the length of the input"
    r"|range of input length should be|total message size \d+ exceeds limit|prompt exceeds max(imum)? length"
    r"|reduce your message size|request too large|request exceeds the maximum (allowed )?size"
    r"|(prompt|input|request|conversation)( \(.{0,60}?\))? (is |are )?(too long|longer than)"
    r"|longer than the (model's context|maximum model) length"
    r"|exceeds? (the |this |your )?(model's |available |maximum |configured )*(context|maximum allowed length)"
    r"|input token count.{0,40}exceeds|input tokens exceed|exceeded model token limit"
    r"|larger than the max context size|input is too large to process|too large for model"
    r"|max_new_tokens` must be <=|greater than the context length|context window exceeds limit"
    r"|token count .{0,40}exceeds the limit of|prompt too long|too many tokens: size limit",
    re.IGNORECASE,
)
OVERLOADED_WORDS = re.compile(
    r"\boverloaded\b|at capacity|over capacity|(model|server) is (currently |still )?(loading|busy)|loading model"
    r"|capacity exceeded|temporarily unavailable",
    re.IGNORECASE,
)
RATE_LIMITED_WORDS = re.compile(r"rate.?limit|too many requests|resource has been exhausted|quota exceeded", re.I)
OURS_WORDS = re.compile(
    r"api[ _-]?key[^.]{0,20}(not valid|invalid|incorrect|missing|expired)|(invalid|incorrect|missing) api[ _-]?key"
    r"|(model|deployment)\b(?:[^.]|\.(?=\S)){0,80} (not found|does ?n[o']t exist|is not available)"
    r"|not a valid model|invalid model name",
    re.IGNORECASE,
)
PAGE_TITLE = re.compile(r"<(title|h1)[^>]{0,200}>(.{0,300}?)</\1>", re.IGNORECASE | re.DOTALL)
# Statuses at which the words decide nothing: our own settings are at fault.
OURS_STATUSES = frozenset({401, 402, 403, 404, 405, 407, 415})
REFUSED_STATUSES = frozenset({400, 413, 422})
