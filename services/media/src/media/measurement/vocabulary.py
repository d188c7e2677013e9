"""What the providers' names for expressions have in common: one table beside the scores, which keep their names.

The former API has 48 names in title case (PROVIDERS of Hume's packages, `EmotionScores`), the current one lower-case
names, others for voices than for faces. A common name is the lower-case one, with hyphens between its words.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from media.measurement.series import ModelSeries

# Where lower case alone does not bring the two together.
SAME = {
    "surprise (positive)": "positive-surprise",
    "surprise (negative)": "negative-surprise",
    "chuckling": "amusement",
    "laughter": "amusement",
    "happiness": "joy",
    "fearful": "fear",
}
OTHER = re.compile(r"[^\w]+")
# What is measured here has one name everywhere.
UNITS_WITHOUT_NAMES = frozenset({"features", "spans", "detection"})


def common_name(native: str) -> str:
    """The name that providers share: `Surprise (positive)` and `surprise (positive)` are `positive-surprise`."""
    low = native.strip().lower()
    return SAME.get(low) or OTHER.sub("-", low).strip("-")


def common_names(models: Sequence[ModelSeries]) -> dict[str, Mapping[str, str]]:
    """Per model, the table of all names in it."""
    return {
        each.model: {name: common_name(name) for name in sorted(_names(each))}
        for each in models
        if each.unit not in UNITS_WITHOUT_NAMES
    }


def _names(model: ModelSeries) -> Iterable[str]:
    return {name for track in model.tracks for sample in track.samples for name in sample.scores}
