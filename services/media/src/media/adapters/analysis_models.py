"""What analyses are made with, as the settings say: rows in PostgreSQL, and files of models."""

from pathlib import Path

from common.storage.model_files import IMAGENET_NAMES, MOBILENET, YUNET, ModelFile, ModelMissing, model_path
from common.storage.postgres import Pool
from media.adapters.postgres_analyses import PostgresAnalyses
from media.content_ports import AnalysisDesk, ModelFiles
from media.settings import MediaSettings

# A video is measured in pieces of so many seconds of the processor, so that none comes near what one call may take.
PIECE_SHARE = 0.2


def open_analysis_desk(settings: MediaSettings, pool: Pool) -> AnalysisDesk:
    """Nothing is opened that would have to be closed."""
    folder = settings.models_dir or settings.data_dir / "models"
    return AnalysisDesk(
        rows=PostgresAnalyses(pool),
        models=lambda: _models(folder),
        max_seconds=settings.max_analysis_seconds,
        cpu_seconds=PIECE_SHARE * settings.media_process_seconds,
    )


def _models(folder: Path) -> ModelFiles:
    wanted = {"faces": YUNET, "looks": MOBILENET, "names": IMAGENET_NAMES}
    found, missing = dict[str, Path | None](), dict[str, str]()
    for name, model in wanted.items():
        found[name], reason = _file(folder, model)
        if reason is not None:
            missing[name] = reason
    return ModelFiles(faces=found["faces"], looks=found["looks"], names=found["names"], missing=missing)


def _file(folder: Path, model: ModelFile) -> tuple[Path | None, str | None]:
    try:
        return model_path(folder, model), None
    except ModelMissing as error:
        return None, str(error)
