"""The data flows: each is one definition of its steps, from which jobs, AsyncAPI and the docs take them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FlowStep:
    """One step: what it is called in the progress of a job, what comes of it, and the steps that it waits for.

    Without `after` it waits for the step before it.
    """

    name: str
    makes: str
    after: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """A kind of job as a row of steps. Each is a fact on the log when it begins; a failed one is tried again alone."""

    kind: str
    title: str
    begins_with: str
    steps: tuple[FlowStep, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The steps in their order, as a `JobSpec` has them."""
        return tuple(step.name for step in self.steps)

    def edges(self) -> list[tuple[str, str]]:
        """Who waits for whom: pairs of names, from what a step waits for to the step."""
        found = list[tuple[str, str]]()
        for at, step in enumerate(self.steps):
            before = (self.steps[at - 1].name,) if at else ()
            found += [(each, step.name) for each in (before if step.after is None else step.after)]
        return found


SONG_EMBEDDING = Flow(
    kind="song",
    title="Song embedding",
    begins_with="metadata, an audio file, or an id at Spotify",
    steps=(
        FlowStep("metadata", "title, artist, album, year, genres"),
        FlowStep("features", "tempo, key, loudness, energy, a descriptor of the sound"),
        FlowStep("embedding", "a vector of 384 dimensions"),
        FlowStep("index", "a row in PostgreSQL, and the song in the index of its organisation"),
    ),
)
FLOWS: tuple[Flow, ...] = (SONG_EMBEDDING,)
