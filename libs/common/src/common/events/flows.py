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
VIDEO_PROCESSING = Flow(
    kind="analysis",
    title="Video processing",
    begins_with="an uploaded file, or an address",
    steps=(
        FlowStep("fetch", "the file, in the folder of the job"),
        FlowStep("prepare", "what it is: kind, length, size"),
        FlowStep("shots", "shots: cuts, dissolves, fades"),
        FlowStep("keyframes", "pictures that stand for the shots, a contact sheet"),
        FlowStep("faces", "faces in the pictures"),
        FlowStep("quality", "sharpness, exposure, motion, black and frozen stretches", after=("shots",)),
        FlowStep("embeddings", "vectors of pictures and faces", after=("keyframes", "faces")),
        FlowStep("sound", "loudness, energy, silence, a picture of the waveform", after=("prepare",)),
        FlowStep("music", "tempo and key", after=("prepare",)),
        FlowStep("clusters", "what is alike in the project", after=("embeddings",)),
        FlowStep("store", "a document, a report, rows", after=("clusters", "quality", "sound", "music")),
    ),
)
CONTENT_CREATION = Flow(
    kind="creation",
    title="Content creation",
    begins_with="a prompt",
    steps=(
        FlowStep("plan", "a script of scenes: by a template, or written by a model and checked"),
        FlowStep("narrate", "each sentence, spoken"),
        FlowStep("film", "a clip for each scene", after=("plan",)),
        FlowStep("analyse", "shots, faces, looks and quality of the clips"),
        FlowStep(
            "enhance", "the film: sound at -16 LUFS, captions in step with it, fades", after=("narrate", "analyse")
        ),
        FlowStep("cluster", "what of it is alike in the project"),
        FlowStep("package", "film, captions, thumbnails, metadata, cost and trail"),
    ),
)
FLOWS: tuple[Flow, ...] = (CONTENT_CREATION, SONG_EMBEDDING, VIDEO_PROCESSING)
