"""The port `SpeechProvider` on the voice of this machine, which speaks in worker processes."""

from common.failures import ProviderDown, Refused
from common.kernel.worker_processes import TooDear, WorkerProcesses, WorkersBusy
from common.providers.policy import Policy
from media.speech_ports import Sound, Utterance, Voice

PROVIDER = "local"
OPERATION = "speak"
SPEEDS = (0.5, 2.0)
DEFAULT_VOICE = "heart"


class LocalVoice:
    """Speaks here, in English, for nothing."""

    name = PROVIDER
    identity = "hibari-0.2"
    speeds = SPEEDS
    sandbox = False

    def __init__(self, workers: WorkerProcesses, policy: Policy, models_dir: str) -> None:
        self._workers = workers
        self._policy = policy
        self._models_dir = models_dir

    def serves(self, org_id: str) -> bool:
        """Whether it is wanted at all."""
        del org_id  # one account for all
        return self._policy.record.configured

    def knows(self, voice: Voice) -> bool:
        """Its one voice stands in for any."""
        del voice
        return True

    async def speak(self, utterance: Utterance) -> Sound:
        """Raises Refused for a text that it cannot say, ProviderDown where its model is missing."""
        budget = self._policy.begin(deadline=utterance.until)

        async def send() -> Sound:
            called = utterance.voice.names.get(PROVIDER, DEFAULT_VOICE)
            samples, rate = await self._workers.run(
                utterance.org_id, _speak, utterance.text, called, utterance.speed, self._models_dir
            )
            return Sound(samples, rate, PROVIDER, utterance.speed)

        return await self._policy.once(budget, OPERATION, send)


def _speak(text: str, voice: str, speed: float, models: str) -> tuple[bytes, int]:
    """In the worker process, which alone loads the engine."""
    from media.adapters.local_speaker import NothingSaid, speak

    try:
        return speak(text, voice, speed, models)
    except NothingSaid as error:
        raise Refused(422, str(error), "language_not_spoken", "input") from None


def verdict(error: Exception) -> Refused | ProviderDown | None:
    """What an error of the worker processes means; None for a bug."""
    if isinstance(error, WorkersBusy | TooDear):
        return ProviderDown(f"The voice on this machine: {error}.")
    # Its class is not known here, for that would load the engine.
    if type(error).__name__ == "NoLocalVoice":
        return ProviderDown(str(error), status=501)
    return None
