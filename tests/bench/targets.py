"""What ops/bench ingest compares: settle's gateway and the peers. Each is a webhook receiver on a port of its own."""

import http.client
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from sign import SECRET
from world import TOP, BenchError, World, free_port, wait_for

PEERS = TOP / "tests/bench/peers"
WORKERS = "2"
PEER_TABLE, SETTLE_TABLE = "peer.webhook_receipts", "settle.webhook_receipts"


@dataclass
class Target:
    name: str
    what: str
    command: list
    env: dict[str, str]
    table: str  # where its receipts go
    cwd: Path | None = None
    port: int = 0
    process: subprocess.Popen | None = field(default=None, repr=False)

    def start(self, world: World) -> None:
        self.process = world.start(self.command, self.env, f"{self.name}.log", self.cwd)
        wait_for(lambda: self._answers(world), f"{self.name} to answer on port {self.port}")

    def check_alive(self, world: World) -> None:
        if self.process.poll() is not None:
            raise BenchError(f"{self.name} ended with exit code {self.process.returncode}:\n"
                             + world.log_tail(f"{self.name}.log"))

    def _answers(self, world: World) -> bool:
        """Any HTTP answer will do."""
        self.check_alive(world)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/nothing-here")
            connection.getresponse()
            return True
        except OSError:
            return False
        finally:
            connection.close()


def settle(world: World, build: Path) -> Target:
    port = free_port()
    return Target(
        "settle", "settle-gateway, 1 worker, 2 connections", [build / "gateway/settle-gateway", "serve"],
        {
            "SETTLE_DATABASE_URL": world.database_url(),
            "SETTLE_REDIS_URL": f"unix://{world.redis_socket}",
            "SETTLE_INGEST_LISTEN": f"127.0.0.1:{port}",
            "SETTLE_INGEST_WORKERS": "1",
            "SETTLE_ADMIN_ENABLED": "false",
            "SETTLE_MONITOR_LISTEN": f"127.0.0.1:{free_port()}",
            "SETTLE_SECRET_INSTAGRAM": SECRET,
        },
        SETTLE_TABLE, port=port)


def fastapi(world: World) -> Target:
    port = free_port()
    return Target(
        "fastapi", "FastAPI + SQLAlchemy (asyncpg) + redis-py, uvicorn, 2 workers",
        ["/usr/bin/python3", "-B", "-m", "uvicorn", "receiver:app", "--app-dir", PEERS / "fastapi",
         "--host", "127.0.0.1", "--port", str(port), "--workers", WORKERS, "--loop", "uvloop", "--http", "httptools",
         "--no-access-log", "--log-level", "warning"],
        {
            "DATABASE_URL": world.database_url(user="postgres", scheme="postgresql+asyncpg"),
            "REDIS_URL": f"unix://{world.redis_socket}",
            "WEBHOOK_SECRET": SECRET,
        },
        PEER_TABLE, port=port)


def fastify(world: World, name: str, store: str, what: str) -> Target:
    port = free_port()
    folder = Path(os.environ["BENCH_FASTIFY"])  # installed there by ops/bench
    node = next(folder.glob("node_modules/node-linux-*/bin/node"), None)
    if node is None:
        raise BenchError(f"no Node.js in {folder}/node_modules: this machine is neither x64 nor arm64, or the folder "
                         "is half made; remove it and run again")
    return Target(
        name, what, [node, "server.js"],
        {
            "PORT": str(port),
            "WORKERS": WORKERS,
            "STORE": store,
            "DATABASE_URL": world.database_url(user="postgres").replace("@/", "@localhost/"),
            "REDIS_URL": str(world.redis_socket),
            "SETTLE_STATEMENT": str(TOP / "sql/queries/receipt_accept.sql"),
            "WEBHOOK_SECRET": SECRET,
            "NODE_ENV": "production",
        },
        SETTLE_TABLE if store == "batch-settle" else PEER_TABLE, folder, port)


PEER_MAKERS = {
    "fastify-batch": lambda world: fastify(
        world, "fastify-batch", "batch", "Fastify + pg + ioredis, 2 workers, own group commit, insert and mark"),
    "fastify-batch-settle": lambda world: fastify(
        world, "fastify-batch-settle", "batch-settle", "the same with settle's own statement"),
    "fastify": lambda world: fastify(
        world, "fastify", "plain", "Fastify + pg + ioredis, 2 workers, a transaction a request"),
    "fastapi": fastapi,
}
