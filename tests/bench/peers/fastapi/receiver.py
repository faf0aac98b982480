"""The webhook receiver as a FastAPI user would write it: verify, deduplicate in Redis, store and mark, answer.

Run by ops/bench with uvicorn, two workers, uvloop and httptools. Every setting is in the environment.
"""

import hashlib
import hmac
import json
import os

from fastapi import FastAPI, HTTPException, Request
from redis import asyncio as aioredis
from sqlalchemy import BigInteger, Column, DateTime, Identity, LargeBinary, Text, func, update
from sqlalchemy.dialects.postgresql import JSONB, UUID, insert
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import declarative_base, sessionmaker

DEDUPE_SECONDS = 86400
SECRET = os.environ["WEBHOOK_SECRET"].encode()

engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=20, max_overflow=10)
Session = sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)
redis = aioredis.from_url(os.environ["REDIS_URL"])
app = FastAPI(openapi_url=None)
Base = declarative_base()


class WebhookReceipt(Base):
    __tablename__ = "webhook_receipts"
    __table_args__ = {"schema": "peer"}

    id = Column(BigInteger, Identity(), primary_key=True)
    platform = Column(Text, nullable=False)
    dedup_key = Column(LargeBinary, nullable=False, unique=True)
    external_post_id = Column(Text)
    event_status = Column(Text)
    url = Column(Text)
    headers = Column(JSONB, nullable=False)
    body = Column(LargeBinary, nullable=False)
    received_at = Column(DateTime(timezone=True), server_default=func.now())


class PublishLog(Base):
    __tablename__ = "publish_logs"
    __table_args__ = {"schema": "peer"}

    id = Column(UUID(as_uuid=True), primary_key=True)
    platform = Column(Text, nullable=False)
    external_post_id = Column(Text)
    extra_metadata = Column(JSONB, nullable=False)


@app.post("/publishing/webhooks/{platform}")
async def receive(platform: str, request: Request):
    body = await request.body()
    if not is_genuine(body, request.headers.get("x-hub-signature-256", "")):
        raise HTTPException(status_code=401, detail="bad signature")

    event = json.loads(body)
    dedup_key = hashlib.sha256(platform.encode() + b"\0" + body).digest()
    redis_key = "webhook:" + dedup_key.hex()
    if not await redis.set(redis_key, 1, nx=True, ex=DEDUPE_SECONDS):
        return {"status": "ok"}

    try:
        await store(platform, event, dedup_key, dict(request.headers), body)
    except Exception:
        await redis.delete(redis_key)
        raise
    return {"status": "ok"}


def is_genuine(body: bytes, header: str) -> bool:
    expected = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, header)


async def store(platform: str, event: dict, dedup_key: bytes, headers: dict, body: bytes) -> None:
    receipt = insert(WebhookReceipt).values(
        platform=platform,
        dedup_key=dedup_key,
        external_post_id=event["external_post_id"],
        event_status=event.get("status"),
        url=event.get("media_url"),
        headers=headers,
        body=body,
    )
    word = func.jsonb_build_object(
        "webhook_received", True,
        "webhook_timestamp", func.now(),
        "webhook_platform", platform,
        "webhook_status", event.get("status"),
        "media_url", event.get("media_url"),
    )
    mark = (
        update(PublishLog)
        .where(PublishLog.external_post_id == event["external_post_id"], PublishLog.platform == platform)
        .values(extra_metadata=PublishLog.extra_metadata.op("||")(word))
        .execution_options(synchronize_session=False)
    )
    async with Session() as session, session.begin():
        await session.execute(receipt.on_conflict_do_nothing(index_elements=["dedup_key"]))
        await session.execute(mark)
