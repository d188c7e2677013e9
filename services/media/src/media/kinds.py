"""Which jobs media does."""

from common.jobs.job_spec import Kinds, kind
from media.deps import Deps
from media.documents.intake import DOCUMENT, take_in
from media.expressions.measure import EXPRESSIONS, measure
from media.speech import speech_job
from media.speech.speech_job import SPEECH
from media.video.make import VIDEO, make

KINDS: Kinds[Deps] = (
    kind(VIDEO, make),
    kind(EXPRESSIONS, measure),
    kind(SPEECH, speech_job.make),
    kind(DOCUMENT, take_in),
)
