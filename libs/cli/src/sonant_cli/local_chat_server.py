"""The chat model of `sonant up --local-model`: llama.cpp's own OpenAI-compatible server on a port of the loopback.

`python -m sonant_cli.local_chat_server MODEL PORT` serves until SIGTERM. The package `xllamacpp` is the library.
"""

import os
import signal
import sys
from pathlib import Path

from common.storage.model_files import SMOLLM2
from sonant_cli.probes import HOST

# Two conversations at a time, each with half of the context; others wait their turn.
SLOTS = 2
# With 23 KB a token this is what takes most of the memory beside the model.
CONTEXT_TOKENS = 8192
# A model of this size repeats itself where nothing ends it.
ANSWER_TOKENS = 1024
# As the model's card advises.
TEMPERATURE, TOP_P = 0.2, 0.9
STOPS = {signal.SIGTERM, signal.SIGINT}


def serve(model: Path, port: int) -> None:
    """Listen, and answer until this process is told to stop."""
    # The library is some 30 MB, which nothing else of the command line needs.
    import xllamacpp

    # Before its threads are there: a signal is then for this one alone.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    wanted = xllamacpp.CommonParams()
    wanted.model.path, wanted.model_alias = str(model), {SMOLLM2.name}
    wanted.hostnames, wanted.port = [HOST], port
    # No page of a browser on this machine is to read what it says.
    wanted.ui, wanted.cors_origins = False, f"http://{HOST}:{port}"
    wanted.n_parallel, wanted.n_ctx, wanted.n_predict = SLOTS, CONTEXT_TOKENS, ANSWER_TOKENS
    # Prompts of slots that were given to others are not kept: by default that may take gigabytes.
    wanted.cache_ram_mib = 0
    wanted.sampling.temp, wanted.sampling.top_p = TEMPERATURE, TOP_P
    threads = os.cpu_count() or 1
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(wanted)
    sys.stdout.write(f"{model.name} on {server.listening_address}, {threads} threads\n")
    sys.stdout.flush()
    signal.sigwait(STOPS)
    # Its threads are in C++ and may be at an answer: nothing of theirs is worth waiting for.
    os._exit(0)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
