"""The measuring half of ops/bench.

usage: main.py [--check] NAME OPTION ...      --check: only looks whether the options are right
"""

import signal
import sys

import aggregates
import ingest
import overload
import reconcile
from world import BenchError, say

COMMANDS = {
    "ingest": (ingest.parse_ingest, ingest.run_ingest),
    "duplicates": (ingest.parse_duplicates, ingest.run_duplicates),
    "overload": (overload.parse_overload, overload.run_overload),
    "aggregates": (aggregates.parse_aggregates, aggregates.run_aggregates),
    "reconcile": (reconcile.parse_reconcile, reconcile.run_reconcile),
}
LONGEST_SECONDS = 3 * 3600  # nothing here takes as long: a bench that hangs ends by itself


def main() -> None:
    only_check = sys.argv[1] == "--check"
    name, *arguments = sys.argv[2:] if only_check else sys.argv[1:]
    parse, run = COMMANDS[name]
    options = parse(arguments)
    if only_check:
        return

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, stop)
    signal.alarm(LONGEST_SECONDS)
    try:
        run(options)
    except BenchError as error:
        say(f"bench: {error}")
        sys.exit(1)


def stop(number, frame) -> None:
    """Ends by an exception, so that everything is cleaned up."""
    raise SystemExit(f"bench: stopped by {signal.Signals(number).name}")


main()
