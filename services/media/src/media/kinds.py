"""Which jobs media does."""

from common.jobs.job_spec import Kinds, kind
from media.deps import Deps
from media.expressions.measure import EXPRESSIONS, measure
from media.video.make import VIDEO, make

KINDS: Kinds[Deps] = (kind(VIDEO, make), kind(EXPRESSIONS, measure))
