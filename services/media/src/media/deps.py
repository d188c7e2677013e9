"""What the handlers and the jobs of media work with."""

from dataclasses import dataclass

from common.jobs.job_desk import JobDesk
from common.providers.provider_registry import ProviderRegistry
from common.secret_box import SecretBox
from common.storage.unit_of_work import UnitsOfWork
from media.assets.asset_store import Assets
from media.documents.document_desk import DocumentDesk
from media.ports import AssetRows, ExpressionLab, VideoStudio
from media.settings import MediaSettings
from media.speech.answering import Speech
from media.speech.speech_files import SpeechFiles
from media.webhook_ports import WebhookCaller, WebhookStore, WebhookTables
from media.webhooks.sender import WebhookSender


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhooks:
    """What the use cases of webhooks work with."""

    units: UnitsOfWork[WebhookTables]
    store: WebhookStore
    http: WebhookCaller
    secrets: SecretBox
    sender: WebhookSender


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """Everything a use case may ask for."""

    settings: MediaSettings
    desk: JobDesk
    assets: Assets
    asset_rows: AssetRows
    video: VideoStudio
    expressions: ExpressionLab
    documents: DocumentDesk
    speech: Speech
    speech_files: SpeechFiles
    webhooks: Webhooks
    providers: ProviderRegistry
