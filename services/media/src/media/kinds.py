"""Which jobs media does."""

from common.jobs.job_spec import Kinds, kind
from media.content.analysis_job import ANALYSIS, analyse
from media.creator.creation_job import CREATION, create
from media.deps import Deps
from media.documents.document_intake import DOCUMENT, take_in
from media.expressions.measure import EXPRESSIONS, measure
from media.songs import catalogue_import, song_job, song_map
from media.songs.catalogue_import import SONG_IMPORT
from media.songs.song_job import SONG
from media.songs.song_map import SONG_MAP
from media.speech import speech_job
from media.speech.speech_job import SPEECH
from media.video.make import VIDEO, make

KINDS: Kinds[Deps] = (
    kind(VIDEO, make),
    kind(EXPRESSIONS, measure),
    kind(SPEECH, speech_job.make),
    kind(CREATION, create),
    kind(SONG, song_job.make),
    kind(SONG_IMPORT, catalogue_import.make),
    kind(SONG_MAP, song_map.make),
    kind(ANALYSIS, analyse),
    kind(DOCUMENT, take_in),
)
