"""ops/bench aggregates: a year of daily aggregates, each hashed and verified, beside one statement that only counts."""

import json
import os
import statistics
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import table
from options import Parser, number
from reconcile import Watch
from world import TOP, BenchError, World, run, say

HERE = TOP / "tests/bench"
# What both ways say of a day, a tenant and a platform.
COLUMNS = ("date, user_id_str, platform, publication_count, success_count, failed_count, settled_count, avg_settle_ms, "
           "webhook_count, cost_total, source_count")


@dataclass
class Measured:
    """One run of one way to do the year."""

    seconds: float
    backend_cpu_seconds: float
    backend_anon_mib: float  # memory of its own at most
    program_rss_mib: float | None  # at most


def run_aggregates(options) -> None:
    with World(max_wal_size="32GB") as world:
        _fill(world, "small", options.rows // 10, options.days)
        of_small = _year(world, "small", options.days)
        _fill(world, "year", options.rows, options.days)
        pairs = [_pair(world, options.days, turn) for turn in range(options.rounds)]
        aside = _year(world, "year", options.days, "--max-concurrent", "2") if options.aside else None
        unchanged = [_unchanged(world, options.days) for _ in range(3)]
        week = [_week(world) for _ in range(3)]
        verified = _measure(world, "year", "verify", check={"days": options.days, "unverified": 0})
    _print(options, pairs, of_small, aside, unchanged, week, verified)


def _fill(world: World, database: str, rows: int, days: int) -> None:
    say(f"filling {database}: {rows:,} raw rows over {days} days; millions take minutes")
    world.sql(f"create database {database} template settle", database="postgres")
    world.sql((HERE / "aggregates_fill.sql").read_text(), database=database, rows=rows, days=days)


# The ways.


def _pair(world: World, days: int, turn: int) -> tuple[Measured, Measured]:
    """Both after one another, in turned order: neighbours in time share the machine's mood."""
    ways = [lambda: _year(world, "year", days), lambda: _one_statement(world, days)]
    done = [way() for way in (ways if turn % 2 == 0 else ways[::-1])]
    _compare(world)
    return (done[0], done[1]) if turn % 2 == 0 else (done[1], done[0])


def _year(world: World, database: str, days: int, *arguments: str) -> Measured:
    """From nothing."""
    world.sql("truncate settle.daily_aggregates, settle.aggregate_days; vacuum; checkpoint;", database=database)
    return _measure(world, database, "backfill", *_range(days), *arguments, check={"created": days, "unverified": 0})


def _unchanged(world: World, days: int) -> Measured:
    return _measure(world, "year", "backfill", *_range(days), check={"unchanged": days})


def _week(world: World) -> Measured:
    return _measure(world, "year", "run", check={"unchanged": 7})


def _range(days: int) -> list[str]:
    yesterday = datetime.now(timezone.utc).date() - timedelta(days=1)
    return ["--from", str(yesterday - timedelta(days=days - 1)), "--to", str(yesterday), "--batch-delay-ms", "0"]


def _measure(world: World, database: str, verb: str, *arguments: str, check: dict[str, int]) -> Measured:
    watch = Watch(world, database)
    watch.start()
    started = time.monotonic()
    out = run([Path(os.environ["BENCH_BUILD"]) / "reconciler/settle-reconciler", "aggregates", verb, "--json", *arguments],
              env={"SETTLE_DATABASE_URL": world.database_url(database),
                   "SETTLE_REDIS_URL": f"unix://{world.redis_socket}"},
              on_start=watch.follow)
    seconds = time.monotonic() - started
    watch.stop()
    report = json.loads(out)
    if any(report[name] != wanted for name, wanted in check.items()):
        raise BenchError(f"aggregates {verb}: wanted {check}, not {report}")
    say(f"aggregates {verb}, {database}: {report['days']} days in {seconds:.2f} s")
    return Measured(seconds, watch.backend_cpu_seconds, watch.backend_anon_mib, watch.program_rss_kib / 1024)


def _one_statement(world: World, days: int) -> Measured:
    world.sql("checkpoint", database="year")
    watch = Watch(world, "year")
    watch.start()
    started = time.monotonic()
    world.sql((HERE / "aggregates_year.sql").read_text(), database="year", days=days)
    seconds = time.monotonic() - started
    watch.stop()
    say(f"one statement: {seconds:.2f} s")
    return Measured(seconds, watch.backend_cpu_seconds, watch.backend_anon_mib, None)


def _compare(world: World) -> None:
    differing = world.sql(f"""
        select count(*) from (
          (select {COLUMNS} from settle.daily_aggregates except select {COLUMNS} from year_in_one)
          union all
          (select {COLUMNS} from year_in_one except select {COLUMNS} from settle.daily_aggregates)) as differing
        """, database="year")
    if int(differing) != 0:
        raise BenchError(f"the two ways disagree in {differing} rows")


# What is shown.


def _print(options, pairs, of_small, aside, unchanged, week, verified) -> None:
    year, one = ([pair[i] for pair in pairs] for i in (0, 1))
    ratio = table.spread([ours.seconds / theirs.seconds for ours, theirs in pairs], "{:.2f}")
    rows = [
        _row("one statement: no hash, no second count", one, one, "1"),
        _row("settle, the days from nothing", year, one, ratio),
        _row("backfill of the same, unchanged: all hashed again", unchanged, one),
        _row("run, nothing has changed: 7 days hashed again", week, one),
        _row("verify: all counted again", [verified], one),
        _row("a tenth of the rows, the days from nothing", [of_small], None),
    ]
    if aside:
        rows.insert(2, _row("the same, two days at once (--max-concurrent 2)", [aside], one))
    print(f"\n{options.rows:,} raw rows over {options.days} days, 80 aggregates a day; {len(pairs)} rounds: medians (least-most)")
    print(table.render(["", "s", "of one statement", "backend CPU s", "of one statement", "backend's own MiB", "program MiB"],
                       rows))
    print("backend's own: RssAnon at most. program: VmHWM. Both ways end in the same aggregates (checked).")


def _row(name: str, runs: list[Measured], one: list[Measured] | None, ratio: str = "") -> list[str]:
    def median(value, form: str) -> str:
        values = [value(each) for each in runs]
        return "" if None in values else form.format(statistics.median(values))

    def of_one(value, form: str) -> str:
        base = statistics.median(value(each) for each in one) if one else 0
        return table.spread([value(each) / base for each in runs], form) if base else ""

    return [name, table.spread([each.seconds for each in runs], "{:.2f}"), ratio or of_one(lambda each: each.seconds, "{:.3f}"),
            median(lambda each: each.backend_cpu_seconds, "{:.2f}"), of_one(lambda each: each.backend_cpu_seconds, "{:.3f}"),
            median(lambda each: each.backend_anon_mib, "{:.1f}"), median(lambda each: each.program_rss_mib, "{:.1f}")]


def parse_aggregates(arguments: list[str]):
    parser = Parser(prog="ops/bench aggregates",
                    description="A year of daily aggregates, hashed and verified, beside one SQL statement that only counts.")
    parser.add_argument("--rows", type=number(10_000, 50_000_000), default=10_000_000, metavar="N",
                        help="raw rows in all (default: 10000000)")
    parser.add_argument("--days", type=number(7, 3660), default=365, metavar="N", help="over so many days (default: 365)")
    parser.add_argument("--rounds", type=number(1, 10), default=2, metavar="N",
                        help="of settle-reconciler and the one statement (default: 2)")
    parser.add_argument("--aside", action="store_true", help="also with two days at once")
    return parser.parse_args(arguments)
