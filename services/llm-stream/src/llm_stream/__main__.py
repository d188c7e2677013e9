"""`python -m llm_stream`."""

from llm_stream.app import build
from llm_stream.settings import LlmStreamSettings

if __name__ == "__main__":
    build(LlmStreamSettings()).run()
