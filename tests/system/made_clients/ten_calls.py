"""Ten calls with the client that openapi-python-client makes; prints what they found as JSON."""

import json
import os

from sonant_client import AuthenticatedClient
from sonant_client.api.chat import create_chat_completion, list_models
from sonant_client.api.jobs import list_jobs
from sonant_client.api.prompts import (
    create_prompt,
    create_prompt_version,
    delete_prompt,
    get_prompt,
    list_prompt_versions,
    list_prompts,
    rename_prompt,
)
from sonant_client.api.telemetry import get_usage
from sonant_client.models import (
    ChatCompletion,
    ChatRequest,
    Error,
    JobList,
    Message,
    MessageRole,
    ModelList,
    PromptContent,
    PromptPage,
    PromptReply,
    RenamedResource,
    ResourceDeleted,
    UsageList,
)

client = AuthenticatedClient(base_url=os.environ["SONANT_URL"], token=os.environ["SONANT_KEY"])
USER = "ada"

models = list_models.sync(client=client)
assert isinstance(models, ModelList)
asked = ChatRequest(
    model=models.data[0].id, messages=[Message(role=MessageRole.USER, content="What is six times seven?")]
)
completion = create_chat_completion.sync(client=client, body=asked)
assert isinstance(completion, ChatCompletion)
made = create_prompt.sync(client=client, body=PromptContent(name="Made", text="Be brief."), x_user_id=USER)
assert isinstance(made, PromptReply)
second = create_prompt_version.sync(made.prompt.id, client=client, body=PromptContent(text="Be very brief."))
assert isinstance(second, PromptReply)
versions = list_prompt_versions.sync(made.prompt.id, client=client, page_size=5)
assert isinstance(versions, PromptPage)
renamed = rename_prompt.sync(made.prompt.id, client=client, body=RenamedResource(name="Renamed"))
assert isinstance(renamed, PromptReply)
listed = list_prompts.sync(client=client, name="Renamed")
assert isinstance(listed, PromptPage)
usage, jobs = get_usage.sync(client=client), list_jobs.sync(client=client)
assert isinstance(usage, UsageList)
assert isinstance(jobs, JobList)
assert isinstance(delete_prompt.sync(made.prompt.id, client=client), ResourceDeleted)
gone = get_prompt.sync(made.prompt.id, client=client)
assert isinstance(gone, Error)
found = {
    "answer": completion.choices[0].message.content,
    "version": second.prompt.version - made.prompt.version,
    "versions": len(versions.prompts),
    "listed": [prompt.name for prompt in listed.prompts],
    "gone": gone.error.code,
}
print(json.dumps(found))
