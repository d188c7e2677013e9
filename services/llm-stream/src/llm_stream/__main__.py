"""`python -m llm_stream`."""

from common.kernel.settings import read_settings
from llm_stream.app import build, wrong_in_what_is_named
from llm_stream.settings import LlmStreamSettings

if __name__ == "__main__":
    build(read_settings(LlmStreamSettings, wrong_in_what_is_named)).run()
