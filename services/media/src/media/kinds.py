"""Which jobs media does."""

from common.jobs.job_spec import Kinds, kind
from media.content.analysis_job import ANALYSIS, analyse
from media.deps import Deps
from media.expressions.measure import EXPRESSIONS, measure
from media.speech import speech_job
from media.speech.speech_job import SPEECH
from media.video.make import VIDEO, make

KINDS: Kinds[Deps] = (
    kind(VIDEO, make),
    kind(EXPRESSIONS, measure),
    kind(SPEECH, speech_job.make),
    kind(ANALYSIS, analyse),
)
