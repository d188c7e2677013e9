"""A program that logs, run by tests as a process: `python logging_program.py HOW`, set up by its environment.

It prints the id of each interaction after `log` has returned.
"""

import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time

from huggingplace import HuggingPlace


def say(logged: str) -> None:
    """One write, so that a reader sees whole lines."""
    os.write(1, f"{logged}\n".encode())


def log_for_ever(client: HuggingPlace) -> None:
    for number in itertools.count():
        say(client.log(user_prompt=f"{number} {'x' * 200}"))


def log_at_a_pace(client: HuggingPlace) -> None:
    while True:
        say(client.log(user_prompt="x" * 200))
        time.sleep(0.001)


def log_some_and_end(client: HuggingPlace) -> None:
    session = client.start_session()
    for number in range(50):
        with session.step("some"):
            pass
        say(session.log(user_prompt=str(number)))


def log_and_wait(client: HuggingPlace) -> None:
    log_some_and_end(client)
    time.sleep(60)


def log_in_forks(client: HuggingPlace) -> None:
    """In the parent, in forks of it made while threads log, and in forks of forks."""
    stop = threading.Event()

    def log_until_told() -> None:
        while not stop.is_set():
            with client.start_session() as session, session.step("thread"):
                say(session.log(user_prompt="thread"))
            time.sleep(0.001)

    # Of the kind that does not keep a program from ending that has failed.
    threads = [threading.Thread(target=log_until_told, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    children = [fork(client, deeper=number % 2 == 0) for number in range(4)]
    for child in children:
        _, status = os.waitpid(child, 0)
        assert status == 0, status
    stop.set()
    for thread in threads:
        thread.join()


def fork(client: HuggingPlace, *, deeper: bool) -> int:
    child = os.fork()
    if child:
        return child
    log_some_and_end(client)
    if deeper:
        _, status = os.waitpid(fork(client, deeper=False), 0)
        assert status == 0, status
    # A fork that ends as servers' workers do: without `atexit`, and without a word to us.
    os._exit(0 if client.flush(10) else 1)


def log_in_a_pool(client: HuggingPlace) -> None:
    INHERITED.append(client)
    with multiprocessing.get_context("fork").Pool(3) as pool:
        for logged in pool.imap_unordered(log_inherited, range(60)):
            say(logged)
        pool.close()
        pool.join()


# What the processes of a pool have from their parent.
INHERITED: list[HuggingPlace] = []


def log_inherited(number: int) -> str:
    return INHERITED[0].log(user_prompt=str(number))


def end_by_exception(client: HuggingPlace) -> None:
    log_some_and_end(client)
    raise SystemExit(3)


def end_by_sigterm(client: HuggingPlace) -> None:
    log_some_and_end(client)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


WAYS = {
    function.__name__: function
    for function in (
        log_for_ever,
        log_at_a_pace,
        log_some_and_end,
        log_and_wait,
        log_in_forks,
        log_in_a_pool,
        end_by_exception,
        end_by_sigterm,
    )
}

if __name__ == "__main__":
    WAYS[sys.argv[1]](HuggingPlace())
