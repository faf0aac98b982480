"""faults: how each page's fault is brought about. A function a page, named as it: what stands before its yield begins the
fault, what stands behind ends it where no command of the page does. The world is as after a start, and has no gateway yet."""
import json
import os
import pathlib
import re
import signal
import socket
import struct
import time
import urllib.parse


def postgres_down(w):
    w.start()
    w.server("postgres", "KILL")
    w.until(lambda: w.post() == 200, "the spool has one")
    yield


def postgres_slow_or_frozen(w):
    w.start()
    w.server("postgres", "STOP")
    w.until(lambda: w.post() == 200, "the spool has one")
    yield


def postgres_read_only(w):
    w.start()
    w.sql("alter role settle_gateway set default_transaction_read_only = on",
          "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'settle_gateway'")
    w.until(lambda: w.metric('settle_store_up{store="postgres"}') == 0, "its connections are lost")
    w.until(lambda: w.post() == 200, "the spool has one")
    yield


def postgres_disk_full(w):
    disk = f"{w.dir}/tablespace"
    w.start()
    w.small_disk(disk, 1)
    os.chmod(disk, 0o777)
    w.run("chown", "postgres", disk, check=False)
    w.sql(f"create tablespace small location '{disk}'", "alter table settle.webhook_receipts set tablespace small")
    w.run("sh", "-c", f"head -c 2000000 /dev/zero >{disk}/filler", check=False)
    w.until(lambda: w.post() == 200 and w.metric('settle_webhook_requests_total{platform="instagram",cause="spooled"}') > 0,
            "nothing more fits on Postgres' disk")
    try:
        yield
        os.unlink(f"{disk}/filler")
        yield
    finally:
        w.sql("alter table settle.webhook_receipts set tablespace pg_default", "drop tablespace small")


def postgres_refused_at_start(w):
    w.sql("alter system set fsync = off", "select pg_reload_conf()")
    w.env |= {"SETTLE_UNSAFE_OK": "false", "SETTLE_SPOOL_FOLDER": ""}
    w.run("systemctl", "start", "settle-gateway")
    yield


def redis_down(w):
    w.start()
    w.until(lambda: w.metric('settle_store_up{store="redis"}') == 1, "Redis is connected")
    w.redis("config", "set", "maxmemory-policy", "noeviction")
    w.redis("config", "set", "maxmemory", "1mb")
    w.until(lambda: w.post() == 200 and w.metric("settle_redis_refusals_total") > 0, "it was full")
    w.server("redis", "KILL")
    yield


def spool_filling(w):
    w.start(SETTLE_SPOOL_MEGABYTES="1")
    w.server("postgres", "KILL")
    fill_spool(w, 0.8)
    yield


def fill_spool(w, share):
    body = '{"external_post_id":"large-%d","status":"published","x":"' + "x" * 50000 + '"}'
    n = 0
    while w.metric("settle_spool_bytes") < share * 1024 * 1024 and n < 500:
        n += 1
        if w.post(body % n) != 200 and w.metric('settle_spool_writes_total{result="full"}') > 0:
            break  # else its disk was late


def spool_full_or_broken(w):
    w.env["OLD_SPOOL_FOLDER"] = w.env.pop("SETTLE_SPOOL_FOLDER")
    w.env |= {"NEW_SPOOL_FOLDER": f"{w.dir}/new-spool", "KEEP_FOLDER": f"{w.dir}/kept"}
    w.write("settle.yaml", f"spool:\n  # on a disk\n  folder: \"{w.env['OLD_SPOOL_FOLDER']}\" # the first\n  after_ms: 250\n")
    pathlib.Path(w.env["OLD_SPOOL_FOLDER"], "spool-0.db").write_text("no database" * 1000)
    w.start(SETTLE_SPOOL_MEGABYTES="1")
    w.server("postgres", "KILL")
    fill_spool(w, 2)
    yield


def spool_record_stays(w):
    w.start()
    w.server("postgres", "KILL")
    w.until(lambda: w.post(platform="instagram") == 200, "the spool has one")
    w.run("systemctl", "stop", "settle-gateway")
    del w.env["SETTLE_SECRET_INSTAGRAM_FILE"]
    w.write("settle.yaml", f"sources:\n  - {{platform: tiktok, name: acme, secret_file: {w.dir}/tiktok.secret}}\n")
    w.run("systemctl", "start", "postgresql")
    w.start()
    yield


def both_stores_down(w):
    w.start(SETTLE_SPOOL_FOLDER="")
    w.sql("create function public.no() returns trigger language plpgsql as 'begin raise exception ''no''; end'",
          "create trigger no before insert on settle.webhook_receipts for each row execute function public.no()")
    refused = 'settle_webhook_requests_total{platform="instagram",cause="internal"}'
    w.until(lambda: w.post() == 503 and w.metric(refused) > 0, "Postgres refuses")
    w.sql("drop function public.no cascade")
    w.until(lambda: w.post() == 200, "and no more")
    w.server("postgres", "KILL")
    w.until(lambda: w.post() == 503, "nothing is taken")
    yield


def overload(w):
    w.start(SETTLE_INGEST_QUEUE="2", SETTLE_INGEST_BATCH_ROWS="1", SETTLE_INGEST_CONNECTIONS="1")
    w.load(48)
    yield
    w.stop_loads()


def connection_flood(w):
    w.start(SETTLE_INGEST_TRUSTED_PROXIES="", SETTLE_INGEST_MAX_CONNECTIONS_PER_ADDRESS="8")
    flood = [socket.create_connection(address(w)) for _ in range(40)]
    yield
    for s in flood:
        s.close()


def slow_clients(w):
    w.start(SETTLE_INGEST_REQUEST_TIMEOUT_MS="6000")
    slow = [socket.create_connection(address(w)) for _ in range(40)]
    for s in slow:
        s.sendall(b"POST /publishing/webhooks/instagram HTTP/1.1\r\nHost: slow\r\n")
    yield
    w.until(lambda: all(was_closed(s) for s in slow), "each was cut, and not by us")


def was_closed(s):
    s.setblocking(False)
    try:
        return s.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def address(w):
    to = urllib.parse.urlsplit(w.env["SETTLE_INGEST_URL"])
    return to.hostname, to.port


def worker_crash_loop(w):
    w.start()
    for _ in range(3):
        w.until(lambda: w.children("ingest"), "a worker runs")
        killed = w.children("ingest")
        os.kill(killed[0], signal.SIGKILL)
        w.until(lambda: w.children("ingest") not in ([], killed), "another one does")
        w.until(lambda: w.status("/readyz") == 200, "the gateway is ready")
    yield


def gateway_will_not_start(w):
    w.write("settle.yaml", "ingest:\n  workers: none\n")
    yield


def clock_skew(w):
    control = pathlib.Path(w.dir, "shim.control")
    control.write_bytes(shim_control(0))
    w.run("install", "-m", "0755", f"{os.environ['SETTLE_BUILD']}/tests/support/shim.so", f"{w.dir}/shim.so")
    w.start(TEST_SHIM_FILE=str(control), RUNBOOKS_PRELOAD=f"{w.dir}/shim.so", ASAN_OPTIONS="verify_asan_link_order=0")
    with control.open("r+b", buffering=0) as file:
        file.write(shim_control(3600))
    w.until(lambda: w.metric("settle_clock_skew_seconds") > 30, "it is seen")
    yield
    with control.open("r+b", buffering=0) as file:
        file.write(shim_control(0))


def shim_control(ahead_s):
    """struct shim_control of tests/support/shim_control.h: the service's clock is so far ahead."""
    return struct.pack("=qIII4x", ahead_s * 1000000, 0, 0, 0)


def signature_storm(w):
    w.start()
    w.until(lambda: w.post() == 200, "a webhook is taken")
    w.until(lambda: w.metric('settle_receipts_stored_total{platform="instagram"}') > 0, "and counted: so it was fine")
    secret = new_secret(w)
    pathlib.Path(w.dir, "instagram.secret").write_text("instagram-secret-of-the-tests")  # as some editors leave it: no line's end
    for _ in range(12):
        w.post(secret=secret)
    yield
    w.until(lambda: w.post() == 200, "the old secret holds too")
    for _ in range(20):  # it is over when a minute has more good ones than bad
        w.post(secret=secret)


def new_secret(w):
    """Handed to the page as a file."""
    secret = "the-new-secret-of-the-tests"
    w.write("new.secret", secret + "\n")
    w.env["NEW_SECRET_FILE"] = f"{w.dir}/new.secret"
    return secret


def reload_refused(w):
    secret = new_secret(w)
    w.start()
    w.write("instagram.secret", "one two three\ninstagram-secret-of-the-tests\n")
    w.run("systemctl", "reload", "settle-gateway")
    yield
    w.until(lambda: [w.post(secret=s) for s in (secret, None)] == [200, 200], "the new secret holds, and the other one too")


def restart_and_upgrade(w):
    answers = []

    def once():
        try:
            answers.append(w.post())
        except OSError as why:
            answers.append(why)

    w.start()
    w.load(4, once)
    w.until(lambda: len(answers) > 50, "callers call")
    yield
    n = len(answers)
    w.until(lambda: len(answers) > n + 50, "they still do")
    w.stop_loads()
    others = [answer for answer in answers if answer != 200]
    if others:
        raise RuntimeError(f"callers noticed: {others[:5]} of {len(answers)}")


def receipt_refused(w):
    w.start()
    w.sql("alter table settle.webhook_receipts add constraint poison check (external_post_id <> 'poison')")
    w.post('{"external_post_id":"poison","status":"published"}')
    try:
        yield
    finally:
        w.sql("alter table settle.webhook_receipts drop constraint poison")


def same_id_other_body(w):
    w.start(SETTLE_SPOOL_FOLDER="", SETTLE_INGEST_COMMIT_TIMEOUT_MS="20000")  # "stored", not "spooled": ready is Postgres
    for state in ("published", "failed"):
        w.post('{"external_post_id":"twice","status":"%s"}' % state)
    for n, more in enumerate(["", ',"post_id":"1"']):
        content = '{"publish_id":"asset-1"%s}' % more
        w.write(f"body-{n}", json.dumps({"event": "post.publish.complete", "create_time": 1768473900, "content": content}))
        w.run("settle-gateway", "send-test", "--platform", "tiktok", f"{w.dir}/body-{n}")
    yield


def disk_or_node_lost(w):
    w.start()
    w.server("postgres", "KILL")
    w.until(lambda: w.post() == 200, "the spool has one")
    w.env["OLD_SPOOL_FOLDER"] = f"{w.dir}/old-spool"
    w.run("sh", "-c", 'rm -rf "$OLD_SPOOL_FOLDER"')
    w.kill()
    w.run("sh", "-c", 'mv "$SETTLE_SPOOL_FOLDER" "$OLD_SPOOL_FOLDER" && mkdir "$SETTLE_SPOOL_FOLDER"')
    w.run("systemctl", "start", "postgresql")
    w.start()
    yield


def reconciler_silent(w):
    w.sql("""insert into settle.publish_logs (platform, source, external_post_id, user_id_str, status, updated_at)
             values ('instagram', 'default', 'waits', 'tests', 'processing', now() - interval '1 hour')""")
    w.start()
    yield


def circuit_breaker(w):
    w.sql("""insert into settle.breakers (platform, state, failures, opened_at, transitions, probes_until)
             values ('tiktok', 'open', 5, now(), 1, '{}')""")
    w.start()
    yield


def aggregates_missing(w):
    w.sql("""insert into settle.aggregate_days (date, aggregated_at, verification_status, verified_at)
             values ((now() at time zone 'UTC')::date - 11, now(), 'verified', now())""",
          """insert into settle.job_runs (id, job_name, actor, trigger, status, outcome, error_code, error_message, holder, started_at,
                                       finished_at)
             values (gen_random_uuid(), 'aggregates', 'tests', 'manual', 'failed', 'failed', '42501',
                     'finding days that are due: permission denied', 'tests', now() - interval '1 day', now() - interval '1 day')""")
    w.start()
    yield


def aggregate_day_dead(w):
    w.sql("""insert into settle.aggregate_days (date, attempts, failed_at, error_code, error_message)
             values ((now() at time zone 'UTC')::date - 20, 3, now(), '22003',
                     'statement aggregate_day of that day: numeric field overflow')""",
          """insert into settle.alerts (source, type, category, severity, dedupe_key, title, message)
             values ('settle-reconciler', 'aggregate_dead', 'SYSTEM_HEALTH', 'HIGH', 'aggregate_dead:that day', 'tests', 'tests')""")
    w.start()
    yield


def aggregates_unverified(w):
    w.sql("""insert into settle.publish_logs (platform, source, external_post_id, user_id_str, status, requested_at)
             values ('instagram', 'default', 'p', 'tests', 'pending', date_trunc('day', now(), 'UTC') - interval '36 hours')""")
    w.run("settle-reconciler", "aggregates", "run")
    w.sql("update settle.daily_aggregates set success_count = 7")
    w.run("settle-reconciler", "aggregates", "verify", check=False)
    w.start()
    yield


def insights_tasks(w):
    w.sql("""insert into settle.platform_insights_tasks (user_id, platform, status, failure_reason, consecutive_failures)
             values ('tests', 'gsc', 'needs_intervention', 'auth_error: HTTP 401', 3)""")
    yield


def connect(w, expires, site="https://www.example.com/"):
    w.env["TENANT"] = "tests"
    w.sql(f"""insert into settle.platform_connections (user_id_str, platform, account, connected, expires_at)
              values ('tests', 'gsc', '{site}', true, now() + interval '{expires}')""")


def repair(w):
    path = "/api/scheduler/platform-insights/reconcile/tests"
    if w.request("SETTLE_ADMIN_URL", "POST", path, headers={"content-type": "application/json"}) != 200:
        raise RuntimeError(f"POST {path} is not answered 200")


def insights_gap(w):
    w.env["SITE"] = "https://old.example.com/"
    connect(w, "1 day")
    connect(w, "1 day", w.env["SITE"])
    w.run("settle-reconciler", "stats")
    w.sql("update settle.insights_gaps set since = since - interval '31 minutes'")
    w.run("settle-reconciler", "alerts")
    w.start()
    yield


def insights_reconcile_failed(w):
    w.write("key", "00112233445566778899aabbccddeeff" * 2 + "\n")
    w.write("token", "a-new-token-of-the-tests")
    w.env |= {"SETTLE_CONNECTIONS_KEY_FILE": f"{w.dir}/key", "TOKEN_FILE": f"{w.dir}/token"}
    connect(w, "-1 minute")
    w.start()
    repair(w)
    w.run("settle-reconciler", "alerts")
    yield


def insights_reconcile_repeated(w):
    connect(w, "1 day")
    w.start()
    for _ in range(3):
        repair(w)
    w.run("settle-reconciler", "alerts")
    yield
    w.sql("update settle.job_runs set started_at = started_at - interval '1 hour' where job_name = 'insights_reconcile'")


def stats_drift(w):
    w.sql("update settle.scheduler_cumulative_stats set total_check_cycles = total_check_cycles + 5")
    w.run("settle-reconciler", "stats")
    w.sql("update settle.scheduler_drift set drifted_since = drifted_since - interval '10 minutes'")
    w.run("settle-reconciler", "alerts")
    w.start()
    yield


def publications(w, platform, n, age, post="null"):
    """So many in processing, untouched for so long."""
    w.sql(f"""insert into settle.publish_logs (platform, user_id_str, external_post_id, status, updated_at)
              select '{platform}', 'tests', {post}, 'processing', now() - interval '{age}' from generate_series(1, {n}) as i""")


def receipt(w, platform, post, status, decisive, age):
    """One as the gateway would have stored it then."""
    w.sql(f"""insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id, event_status, decisive,
                                                   received_at, stored_at)
              values (sha256('{post}'), 'default', '{platform}', gen_random_uuid(), '{post}', '{status}', {decisive},
                      now() - interval '{age}', now() - interval '{age}')""")


# Before the start: what the gateway's first look at Postgres finds need not be waited for.


def stuck_publications(w):
    publications(w, "instagram", 1, "2 days", "'stuck'")
    receipt(w, "instagram", "stuck", "half_way", 0, "2 days")
    learn_word(w, "instagram", "half_way")
    w.run("settle-reconciler", "publications")
    w.start()
    yield


def learn_word(w, platform, word):
    """A descriptor of the operator's own, in which it is one of success."""
    ours = pathlib.Path(w.env["SETTLE_TOP"], f"shared/platforms/{platform}.yaml").read_text()
    os.makedirs(f"{w.dir}/platforms", exist_ok=True)
    w.write(f"platforms/{platform}.yaml", re.sub("(?m)^success: .*", f"success: [published, {word}]", ours))
    w.env["SETTLE_PLATFORMS_FOLDER"] = f"{w.dir}/platforms"


def incident(w):
    w.env["KEEP_FOLDER"] = f"{w.dir}/kept"
    publications(w, "instagram", 1, "20 minutes")
    w.start()
    yield


def many_failed(w):
    publications(w, "tiktok", 12, "20 minutes")
    w.run("settle-reconciler", "publications")
    w.start()
    yield


def guard_stop(w):
    publications(w, "tiktok", 1101, "20 minutes")
    w.run("settle-reconciler", "publications", check=False)
    publications(w, "tiktok", 1, "20 minutes", "'good'")
    receipt(w, "tiktok", "good", "published", 1, "15 minutes")
    w.start()
    yield


def lock_lost(w):
    w.sql("""insert into settle.job_runs (id, job_name, actor, trigger, status, holder, fencing_token, started_at)
             values (gen_random_uuid(), 'publications', 'cli', 'manual', 'running', 'gone:1:run', 0, now() - interval '5 minutes')""",
          """update settle.job_runs
             set status = 'failed', outcome = 'interrupted', error_code = 'killed', finished_at = now(),
                 error_message = 'it did not end by itself'""",
          """update settle.job_fences set holder = 'gone:1:run', lease_until = now() - interval '1 minute'
             where name = 'publications'""")
    w.start()
    yield


def dead_feed(w):
    publications(w, "instagram", 1, "1 minute")
    w.sql("""insert into settle.job_runs (id, job_name, actor, trigger, status, holder)
             values (gen_random_uuid(), 'publications', 'cli', 'manual', 'running', 'h:1:run')""",
          """update settle.job_runs
             set status = 'success', outcome = 'done', finished_at = now(),
                 report = '{"by_platform": {"instagram": {"marked_success": 12, "by_reason": {"poll_confirmed": 12}}}}'""")
    w.start()
    yield


def unmatched_receipts(w):
    receipt(w, "instagram", "nobodys", "published", 1, "73 hours")
    w.start()
    yield
