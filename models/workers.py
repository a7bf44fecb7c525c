"""Processes that do a verb's work: gone when it is killed, and missed when one of them is."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from threading import Thread

# What every process would import by itself, its main module being the command.
PRELOADED = ["models.evaluate", "models.export", "models.gate", "models.synthesize", "models.train"]


def processes(count: int, *, tasks_of_each: int | None = None) -> ProcessPoolExecutor:
    """So many at a time, each for so many tasks, that are gone when this one is killed."""
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return ProcessPoolExecutor(count, context, _end_with_parent, max_tasks_per_child=tasks_of_each)


def _end_with_parent() -> None:
    """A process of an executor would wait for ever for the next task of a parent that was killed."""
    Thread(target=_outlive_nobody, daemon=True).start()


def _outlive_nobody() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)
