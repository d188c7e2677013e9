"""What clients of OpenAI ask for and Sonant does not serve: what to use instead."""

# By the beginning of the path; a route of ours comes first.
INSTEAD = {
    "/v1/completions": "Legacy completions are not served: send messages to POST /v1/chat/completions.",
    "/v1/responses": "This part of the Responses API is not served: send the whole conversation to POST /v1/responses.",
    "/v1/conversations": "Of the Conversations API items are not deleted one by one: delete the conversation.",
    "/v1/assistants": "The Assistants API is not served: use POST /v1/chat/completions with an active set.",
    "/v1/threads": "The Assistants API is not served: use POST /v1/chat/completions with the header x-session-id.",
    "/v1/audio": "Transcription is not served: use that of your voice platform. POST /v1/audio/speech speaks.",
    "/v1/realtime": "The Realtime API is not served: stream POST /v1/chat/completions.",
    "/v1/images": "Images are not served: call the image provider itself.",
    "/v1/videos": "This API of videos is not served: use POST /v1/media/video.",
    "/v1/moderations": "Moderations are not served: call the moderation provider itself.",
    "/v1/files": "This of files is not served: their bytes are at GET /v1/assets/{id}, with ast_ in place of file-.",
    "/v1/uploads": "Uploads in parts are not served: send the file to POST /v1/files as a whole.",
    "/v1/batches": "Batches are not served: send each request to POST /v1/chat/completions.",
    "/v1/fine_tuning": "Fine-tuning is not served: train at the upstream and name the model in the models file.",
    "/v1/vector_stores": "This of vector stores is not served: the bytes of a file are at GET /v1/assets/{id}, "
    "with ast_ in place of file-.",
    "/completions": "Legacy completions are not served: send messages to POST /v1/chat/completions.",
}


def instead_of(path: str) -> str | None:
    """A sentence about a path that is not served; None for one that nobody would expect."""
    for prefix, sentence in INSTEAD.items():
        if path == prefix or path.startswith(f"{prefix}/"):
            return sentence
    return None
