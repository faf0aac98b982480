"""ops/bench ingest and ops/bench duplicates: webhooks a second."""

import dataclasses
import json
import os
from pathlib import Path
from statistics import median

import sign
import table
from measure import (
    CEILING_ROWS, Measured, ceiling_name, empty, measure_ceiling, measure_known, measure_new, sign_requests)
from options import Parser, number, numbers, some_of
from proof import prove
from targets import PEER_MAKERS, PEERS, Target, settle
from world import World, say

CONNECTIONS = "64,256"
CEILING_LANES = (1, 2)
WARM_CONNECTIONS = KNOWN_CONNECTIONS = 64
NOTES = """\
Load generator, receivers, Postgres and Redis share this machine's {cores} cores: read the ratios, not the rates.
wrk is a closed loop: it waits for answers, so its latencies leave out the queue that an open sender would see.
us: user and system CPU time of all processes of that kind, for one request."""


def run_ingest(options) -> None:
    with _bench_world(options) as world:
        targets = [] if options.no_settle else [_settle(world)]
        targets += [PEER_MAKERS[name](world) for name in options.peers]
        runs = options.rounds * len(options.connections) * (len(targets) + len(CEILING_LANES))
        minutes = (runs * (options.seconds + 2) + len(targets) * (options.warm + 4)) / 60
        say(f"{runs} runs of {options.seconds} s, about {minutes:.0f} min")
        _start_all(world, targets, options.warm)
        measured = [one for turn in range(options.rounds) for one in _round(world, targets, turn, options)]

    if options.json:
        print(json.dumps([{**dataclasses.asdict(one), "rate": one.rate} for one in measured]))
    else:
        _print_ingest(measured, targets, options)


def run_duplicates(options) -> None:
    with _bench_world(options) as world:
        target = _settle(world)
        _start_all(world, [target], options.warm)
        pairs = []
        for turn in range(options.rounds):
            new = measure_new(world, target, KNOWN_CONNECTIONS, options.seconds)
            # Not the last ones: the answers and hints of some may have been under way when wrk left.
            known = measure_known(world, target, KNOWN_CONNECTIONS, options.seconds, first=new.requests * 9 // 10)
            say(f"round {turn + 1}: new {new.rate:,.0f}/s, known to Redis {known.rate:,.0f}/s")
            pairs.append((new, known))

    if options.json:
        print(json.dumps([[{**dataclasses.asdict(one), "rate": one.rate} for one in pair] for pair in pairs]))
    else:
        _print_duplicates(pairs)


def _bench_world(options) -> World:
    world = World()
    try:
        say("signing requests, filling the peers' tables")
        sign_requests(world, max(options.seconds, options.warm))
        world.sql((PEERS / "schema.sql").read_text(), posts=sign.POSTS)
    except BaseException:
        world.close()
        raise
    return world


def _settle(world: World) -> Target:
    return settle(world, Path(os.environ["BENCH_BUILD"]))


def _start_all(world: World, targets: list[Target], warm_seconds: float) -> None:
    """Every receiver is proved first, then warmed: a just-in-time compiler is slow for some seconds."""
    for target in targets:
        say(f"{target.name}: start, proof, {warm_seconds} s of warm-up")
        empty(world)
        target.start(world)
        prove(world, target)
        measure_new(world, target, WARM_CONNECTIONS, warm_seconds)


def _round(world: World, targets: list[Target], turn: int, options):
    """Visits every target at every number of connections, each round beginning with another one. The ceiling knows
    no connections; it is visited as often, so that all ratios are of neighbours in time."""
    steps = [*targets, *CEILING_LANES]
    first = turn % len(steps)
    for connections in options.connections:
        for step in steps[first:] + steps[:first]:
            measure = measure_new if isinstance(step, Target) else measure_ceiling
            one = measure(world, step, connections, options.seconds)
            say(f"round {turn + 1}, {connections} connections: {one.target} {one.rate:,.0f}/s")
            yield one


# What is shown.


def _print_ingest(measured: list[Measured], targets: list[Target], options) -> None:
    what = {target.name: target.what for target in targets}
    for lanes in CEILING_LANES:
        what[ceiling_name(lanes)] = f"its statement fed from memory, batches of {CEILING_ROWS}, connections: {lanes}"

    for connections in options.connections:
        here = [one for one in measured if one.connections == connections]
        runs = {name: [one for one in here if one.target == name] for name in what}
        print(f"\n{connections} connections, {options.rounds} rounds of {options.seconds} s: medians (least-most)")
        print(table.render(
            ["", "requests/s", "settle's rate is", "p50 / p99 ms", "settle's p99 is", "server us", "postgres us",
             "redis us", "wrk us", "RSS MiB, largest"],
            [_row(name, runs[name], runs.get("settle", [])) for name in what]))
    print()
    for name, text in what.items():
        print(f"{name}: {text}")
    print(NOTES.format(cores=os.cpu_count()))
    print("RSS: of all processes together, of the largest one.")
    print("settle's rate is, p99 is: settle's over that of this row, round by round. The ceiling's ms: of a batch.")


def _row(name: str, runs: list[Measured], of_settle: list[Measured]) -> list[str]:
    is_ceiling = name.startswith("ceiling")
    rates = [ours.rate / one.rate for ours, one in zip(of_settle, runs)]
    p99s = [ours.p99_ms / one.p99_ms for ours, one in zip(of_settle, runs)]
    return [
        name,
        table.spread([one.rate for one in runs], "{:,.0f}"),
        table.spread(rates, "{:.2f}") + " x" if of_settle and name != "settle" else "",
        _latency(runs),
        table.spread(p99s, "{:.2f}") + " x" if of_settle and name != "settle" and not is_ceiling else "",
        *_cpu_columns(runs),
        "" if is_ceiling else f"{median(one.cpu_us['wrk'] for one in runs):.0f}",
        "" if is_ceiling else _memory(runs),
    ]


def _print_duplicates(pairs: list[tuple[Measured, Measured]]) -> None:
    names = ("new receipts", "duplicates known to Redis")
    print(f"\n{KNOWN_CONNECTIONS} connections: medians (least-most)")
    print(table.render(
        ["", "requests/s", "p50 / p99 ms", "gateway us", "postgres us", "redis us"],
        [[name, table.spread([one.rate for one in runs], "{:,.0f}"), _latency(runs), *_cpu_columns(runs)]
         for name, runs in zip(names, zip(*pairs))]))
    print("duplicates / new: " + table.spread([known.rate / new.rate for new, known in pairs], "{:.2f}") + " x")
    print(NOTES.format(cores=os.cpu_count()))


def _latency(runs: list[Measured]) -> str:
    return f"{median(one.p50_ms for one in runs):.1f} / {median(one.p99_ms for one in runs):.1f}"


def _memory(runs: list[Measured]) -> str:
    return f"{median(one.rss_mib for one in runs):.0f}, {median(one.largest_mib for one in runs):.0f}"


def _cpu_columns(runs: list[Measured]) -> list[str]:
    return [f"{median(one.cpu_us[kind] for one in runs):.1f}" for kind in ("server", "postgres", "redis")]


# The command line.


def parse_ingest(arguments: list[str]):
    parser = _parser("ops/bench ingest", "Webhooks a second: settle, its ceiling and its peers, in interleaved rounds.")
    parser.add_argument("--peers", type=some_of(PEER_MAKERS), default=list(PEER_MAKERS), metavar="LIST",
                        help=f"the peers to run beside settle, comma-separated, or none (all: {','.join(PEER_MAKERS)})")
    parser.add_argument("--connections", type=numbers(1, 4096), default=CONNECTIONS, metavar="LIST",
                        help="of the load generator, one table each (default: %(default)s)")
    parser.add_argument("--no-settle", action="store_true", help="the peers and the ceiling alone")
    return parser.parse_args(arguments)


def parse_duplicates(arguments: list[str]):
    return _parser("ops/bench duplicates", "Duplicates that Redis knows, against new receipts.").parse_args(arguments)


def _parser(name: str, what: str) -> Parser:
    parser = Parser(prog=name, description=what)
    parser.add_argument("--seconds", type=number(2, 60), default=5, metavar="N", help="of each run (default: 5)")
    parser.add_argument("--rounds", type=number(1, 20), default=3, metavar="N", help="default: 3")
    parser.add_argument("--warm", type=number(2, 60), default=6, metavar="N", help="seconds of warm-up (default: 6)")
    parser.add_argument("--json", action="store_true", help="every single run as JSON instead of the table")
    return parser
