"""Which voice is meant: one of the organisation's own catalogue, a built-in one, or the one for a type of content."""

from collections.abc import Sequence

from common.events.speech import SpokenVoice, SpokenVoices, VoiceChoice
from common.failures import Refused
from media.speech.voice_table import VoiceTable
from media.speech_ports import NO_VOICE, CatalogueVoices, SpeechProvider, Voice, slug


class Voices:
    """All voices that an organisation can choose from; its own come first."""

    def __init__(self, table: VoiceTable, catalogue: CatalogueVoices) -> None:
        self._table = table
        self._catalogue = catalogue

    async def chosen(self, org_id: str, choice: VoiceChoice) -> Voice:
        """The voice that was chosen. Raises Refused 404, and 503 where only the catalogue could know."""
        if choice.content_type is not None:
            found = self._table.of_content(choice.content_type)
            if found is None:
                known = ", ".join(sorted(self._table.content_types))
                message = f"There is no voice for the content type {choice.content_type!r}: one of {known}."
                raise Refused(404, message, NO_VOICE, "voice")
            return found
        wanted = choice.id or choice.name or "default"
        built_in = self._table.find(wanted)
        try:
            own = await self._catalogue.find(org_id, wanted)
        except Refused:
            if built_in is None:
                raise
            own = None
        if own is not None:
            return own
        if built_in is None:
            raise Refused(404, f"There is no voice {wanted!r}: `GET /v1/media/voices` lists them.", NO_VOICE, "voice")
        return built_in

    async def listed(self, org_id: str, providers: Sequence[SpeechProvider]) -> SpokenVoices:
        """All of them. Raises Refused 503."""
        own = await self._catalogue.all(org_id)
        able = [each for each in providers if each.serves(org_id)]
        shown = [self._shown(voice, able) for voice in own]
        names = {slug(voice.name) for voice in own} | {slug(voice.id) for voice in own}
        shown += [self._shown(voice, able) for id, voice in self._table.voices.items() if id not in names]
        return SpokenVoices(voices=tuple(shown), content_types=dict(self._table.content_types))

    def _shown(self, voice: Voice, providers: Sequence[SpeechProvider]) -> SpokenVoice:
        types = tuple(name for name, id in self._table.content_types.items() if id == voice.id)
        return SpokenVoice(
            id=voice.id,
            name=voice.name,
            source="catalogue" if voice.source == "catalogue" else "built_in",
            description=voice.description,
            content_types=types,
            providers=tuple(each.name for each in providers if each.knows(voice)),
        )
