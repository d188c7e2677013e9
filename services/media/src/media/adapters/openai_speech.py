"""The port `SpeechProvider` on OpenAI's speech endpoint, and on what answers as it does."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.failures import ProviderDown, Refused
from common.providers.openai_client import OpenAiClient, is_no_answer, status_error
from common.providers.policy import Policy
from common.providers.retry_after import retry_after
from media.speech_ports import Sound, Utterance, Voice

if TYPE_CHECKING:
    import openai

PROVIDER = "openai"
OPERATION = "audio.speech"
# Of `pcm`, by OpenAI's documentation: 24 kHz, 16 bits, one channel, without a header.
RATE = 24_000
SPEEDS = (0.25, 4.0)
MAX_SAMPLES_BYTES = 2 * RATE * 480
# A spent quota comes as 429 as well.
SPENT = "insufficient_quota"
# These know no instructions.
PLAIN_MODELS = ("tts-1", "tts-1-hd")


@dataclass(frozen=True, slots=True)
class SpeechModel:
    """Which model speaks, and what a million characters cost."""

    name: str
    usd_per_million: float = 0.0
    sandbox: bool = False


class OpenAiSpeech:
    """One endpoint with one key."""

    name = PROVIDER
    speeds = SPEEDS

    def __init__(self, client: OpenAiClient, policy: Policy, model: SpeechModel) -> None:
        self._client = client
        self._policy = policy
        self._model = model
        self.sandbox = model.sandbox
        self.identity = f"{model.name}{'-sandbox' if model.sandbox else ''}"

    def serves(self, org_id: str) -> bool:
        """Whether there is a key."""
        del org_id  # one account for all
        return self._policy.record.configured

    def knows(self, voice: Voice) -> bool:
        """Its own voices, and those that have one of them in their place."""
        return PROVIDER in voice.names

    async def speak(self, utterance: Utterance) -> Sound:
        """Raises Refused and ProviderDown."""
        budget = self._policy.begin(deadline=utterance.until)
        told = bool(utterance.description) and not self._model.name.startswith(PLAIN_MODELS)
        client = await self._client.ready()

        async def send() -> Sound:
            samples = bytearray()
            async with client.audio.speech.with_streaming_response.create(
                model=self._model.name,
                input=utterance.text,
                voice=utterance.voice.names[PROVIDER],
                response_format="pcm",
                speed=utterance.speed,
                # Left out where there are none: empty ones are refused.
                extra_body={"instructions": utterance.description} if told else None,
            ) as answer:
                _check_type(answer.headers.get("content-type", ""))
                async for data in answer.iter_bytes():
                    samples += data
                    if len(samples) > MAX_SAMPLES_BYTES:
                        raise ProviderDown("OpenAI sent more sound than the text could be.")
                reference = answer.headers.get("x-request-id")
            if not samples:
                raise ProviderDown("OpenAI answered without any sound.")
            cost = len(utterance.text) * self._model.usd_per_million / 1_000_000
            return Sound(bytes(samples[: len(samples) // 2 * 2]), RATE, PROVIDER, utterance.speed, cost, reference)

        return await self._policy.read(budget, OPERATION, send)


def _check_type(content_type: str) -> None:
    """An error page or an error inside a 200 is no sound."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith("text/") or kind == "application/json":
        raise ProviderDown(f"OpenAI answered with {kind} in place of sound.")


def verdict(error: Exception) -> Refused | ProviderDown | None:
    """What an error of the package means; None for one that is ours."""
    if (failed := status_error(error)) is not None:
        return _of_status(failed)
    if is_no_answer(error):
        return ProviderDown(f"OpenAI did not answer properly: {type(error).__name__}.")
    return None


def _of_status(error: "openai.APIStatusError") -> Refused | ProviderDown:
    status, message = error.status_code, str(error.message)[:300]
    if status in (400, 413, 422):
        return Refused(400, f"The provider refused the text: {message}", "refused_by_provider", "input")
    if status == 429 and error.code == SPENT:
        return ProviderDown("The account at OpenAI is spent.", status=402)
    return ProviderDown(f"OpenAI failed: {message}", status=status, retry_after=retry_after(error.response.headers))
