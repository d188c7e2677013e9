"""An app that calls a model through the package `openai`, and is instrumented by other people's packages.

`python tests/support/instrumented_app.py <instrumentation> <base url> <key of the model> <key of the ingestion>`
"""

import os
import sys

# Read when the packages are imported.
os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "SPAN_ONLY"

from openai import APIStatusError, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def instrument(name: str, provider: TracerProvider) -> None:
    """As the documentation of each says."""
    if name == "openinference":
        from openinference.instrumentation.openai import OpenAIInstrumentor as OpenInference

        OpenInference().instrument(tracer_provider=provider)
    else:
        from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor as OpenTelemetry

        OpenTelemetry().instrument(tracer_provider=provider)


def main() -> None:
    """A call, a streamed call and one that fails, within a span that is not about models."""
    name, base_url, key, ingest_key = sys.argv[1:]
    provider = TracerProvider(resource=Resource.create({"service.name": "shop", "deployment.environment.name": "test"}))
    exporter = OTLPSpanExporter(
        endpoint=f"{base_url}/v1/traces", headers={"Authorization": f"Bearer {ingest_key}"}, timeout=20
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    instrument(name, provider)
    client = OpenAI(base_url=f"{base_url}/v1", api_key=key, max_retries=0)
    with trace.get_tracer("shop").start_as_current_span("GET /checkout"):
        question: list[ChatCompletionMessageParam] = [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "Where is my order?"},
        ]
        answer = client.chat.completions.create(model="default", messages=question)
        print(answer.choices[0].message.content)
        stream = client.chat.completions.create(
            model="default", messages=question, stream=True, stream_options={"include_usage": True}
        )
        print("".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices))
        try:
            client.chat.completions.create(model="no-such-model", messages=question)
        except APIStatusError as error:
            print(error.status_code)
    provider.shutdown()


if __name__ == "__main__":
    main()
