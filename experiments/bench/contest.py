"""Our search and its competitors answer one question, with one thread and with all.

Every competitor first chooses its settings for the question, and its answer is compared with ours.
Only then all of them are timed in the same interleaved rounds. A competitor that takes much longer
than we do is timed once, outside the rounds, unless it is the fastest one.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.bench import timing
from experiments.bench.competitors import threads as threads_lib
from experiments.bench.competitors.interface import Competitor, NotApplicable
from experiments.bench.questions import Question
from experiments.bench.retrieval_case import Case, read_once
from inres.system import processes

LONGER, MUCH_LONGER = 10, 100
"""How many times as long as ours a slow competitor may take to be repeated, and to be called."""


def thread_counts() -> dict[str, int]:
    """Threads of each column of the report."""
    cores = processes.cores()
    return {"one thread": 1} | ({"all threads": cores} if cores > 1 else {})


def measure(
    config: ConfigDict, case: Case, question: Question, *, read: bool = False, omit: str = ""
) -> dict[str, Any]:
    """Times of all programs for a question.

    Args:
      config: `rounds`, `round_seconds`, `case_seconds`, `longest_call_seconds` and `slow_seconds`.
      case: the items.
      question: what is asked.
      read: whether reading the codes once is timed as well.
      omit: why all competitors are left out; empty: they are not.

    Returns:
      `columns`: for each number of threads, `ours`, `rivals` (by name) and `read`, as summaries,
      the name of the `fastest` rival and its `ratio`: its time divided by ours. `left_out`: reasons
      by column and name.

    Raises:
      AssertionError: the answers of the reference, the first competitor, differ from ours.
    """
    columns, left_out = {}, {}
    for name, threads in thread_counts().items():
        ours = question.ours(threads)
        if ours is None:
            continue
        with threads_lib.limited(threads):
            columns[name], left_out[name] = _column(
                config, case, question, ours, threads, read=read, omit=omit
            )
    return {"columns": columns, "left_out": left_out}


def _column(
    config: ConfigDict,
    case: Case,
    question: Question,
    ours: Callable[[], Any],
    threads: int,
    *,
    read: bool,
    omit: str,
) -> tuple[dict[str, Any], dict[str, str]]:
    result = ours()
    own_seconds = timing.seconds_of(ours)
    left_out = {**case.left_out, **({rival.name: omit for rival in case.rivals} if omit else {})}
    calls: dict[str, Callable[[], Any]] = {"ours": ours}
    if read:
        calls["read"] = read_once(case.codes, threads)
    settings: dict[str, str] = {}
    theirs: dict[str, Callable[[], Any]] = {}
    single: dict[str, float] = {}
    for rival in [] if omit else case.rivals:
        if threads == 1 and not rival.limits_threads:
            left_out[rival.name] = "cannot be limited to one thread"
            continue
        rival.threads = threads
        try:
            settings[rival.name] = question.prepare(rival)
            limit = config.longest_call_seconds
            if rival is not case.rivals[0]:
                limit = min(limit, max(config.slow_seconds, MUCH_LONGER * own_seconds))
            seconds = _tried(question, rival, result, limit)
        except NotApplicable as reason:
            left_out[rival.name] = str(reason)
        except AssertionError as difference:
            if rival is case.rivals[0]:
                raise
            left_out[rival.name] = f"wrong answer: {' '.join(str(difference).split())[:200]}"
        except Exception as error:  # another program's: whatever it is, it is reported
            left_out[rival.name] = f"failed: {type(error).__name__}: {error}"
        else:
            theirs[rival.name] = functools.partial(question.theirs, rival)
            if seconds > max(config.slow_seconds, LONGER * own_seconds):
                single[rival.name] = seconds
    if len(single) == len(theirs) > 0:  # the fastest one is repeated in any case
        del single[min(single, key=lambda name: single[name])]
    calls |= {name: call for name, call in theirs.items() if name not in single}
    times = {name: time.summary() for name, time in _timed(config, calls).items()}
    for name, seconds in single.items():
        times[name] = timing.Timing(np.array([seconds]), disturbed=False).summary()
    column: dict[str, Any] = {"threads": threads, "ours": times.pop("ours")}
    if read:
        column["read"] = times.pop("read")
    column["rivals"] = {
        name: {**summary, "settings": settings[name]} for name, summary in times.items()
    }
    return column | _fastest(column), left_out


def _tried(question: Question, rival: Competitor, result: Any, limit: float) -> float:
    """Seconds of a competitor's first call, whose answer is compared with ours.

    Raises:
      NotApplicable: it would take longer than `limit`, as one query of the batch shows.
      AssertionError: the answers differ.
    """
    one = timing.seconds_of(functools.partial(question.theirs, rival, 1))
    if one * len(question.codes) > limit:
        raise NotApplicable(f"a call takes too long, or {MUCH_LONGER} times as long as ours")
    answers: list[Any] = []
    seconds = timing.seconds_of(lambda: answers.append(question.theirs(rival)))
    question.check(result, answers[0])
    return seconds


def _timed(config: ConfigDict, calls: dict[str, Callable[[], Any]]) -> dict[str, timing.Timing]:
    """Times in interleaved rounds, as many as fit into `config.case_seconds`."""
    once = sum(timing.seconds_of(call) for call in calls.values())
    rounds = int(np.clip(config.case_seconds / max(once, config.round_seconds), 3, config.rounds))
    return timing.interleaved(calls, rounds=rounds, round_seconds=config.round_seconds)


def _fastest(column: dict[str, Any]) -> dict[str, Any]:
    """Name of the fastest competitor, and its time divided by ours."""
    if not column["rivals"]:
        return {}
    name = min(column["rivals"], key=lambda rival: column["rivals"][rival]["ms"])
    return {
        "fastest": name,
        "ratio": round(column["rivals"][name]["ms"] / max(column["ours"]["ms"], 1e-4), 3),
    }
