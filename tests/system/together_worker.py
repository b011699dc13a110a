"""Run by test_together as several processes: what process 0 prints shows how work is shared."""

import json
import socket
import sys

from inres.system import distributed, together


def squares(jobs):
    """Each job, who did it, and its square."""
    return list(together.in_turn(square, jobs))


def square(job):
    if job < 0:
        raise ValueError(f"process {together.index()} cannot do {job}")
    return job, together.index(), job * job


def streamed(jobs):
    yield from together.in_turn(square, jobs)


def decide():
    """What each process would have decided, and what all do."""
    return list(together.in_turn(lambda _: together.index(), range(3))), together.agreed(
        together.index() + 10
    )


def nested(jobs):
    return together.together(squares, jobs), together.sharers()


def reachable(host, port):
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def work(kind):
    """What process 0 does; all else is done together."""
    say = lambda **what: print(json.dumps(what), flush=True)  # noqa: E731
    if kind == "fail":
        port = int(sys.argv[2].rpartition(":")[2])
        say(**{host: reachable(host, port) for host in ("127.0.0.1", "127.0.0.2")})
        raise ValueError("process 0 refuses")
    say(count=together.count(), sharers=together.sharers(), alone=squares([3]))
    say(shared=together.together(squares, list(range(7))))
    seen = []
    for value in together.each_together(streamed, [5, 6, 7]):
        seen.append((value[0], together.sharers()))  # between the steps, nothing is shared
    say(streamed=seen)
    say(decided=together.together(decide))
    say(nested=together.together(nested, [1, 2]))
    try:
        together.together(squares, [1, -4, 2, -7])
    except ValueError as error:
        say(error=str(error))
    say(after=together.together(squares, []))


def main():
    kind, *rest = sys.argv[1:]
    at = distributed.place(*(rest[0], int(rest[1]), int(rest[2])) if rest else (None, None, None))
    distributed.join(at)
    print(f"process {together.index()} begins", flush=True)
    together.run(lambda: work(kind))


if __name__ == "__main__":
    main()
