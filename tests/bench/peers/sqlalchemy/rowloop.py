"""The reconciler as a SQLAlchemy user would write it: row by row, a commit each. Run by ops/bench reconcile.

usage: rowloop.py ROWS      settles that many stale rows; prints a JSON object with rows and seconds
"""

import asyncio
import json
import os
import sys
import time
import uuid
from datetime import datetime, timedelta, timezone

from sqlalchemy import Column, DateTime, LargeBinary, SmallInteger, Text, select
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import declarative_base

SINCE_MINUTES = 10
Base = declarative_base()


class PublishLog(Base):
    __tablename__ = "publish_logs"
    __table_args__ = {"schema": "settle"}

    id = Column(UUID(as_uuid=True), primary_key=True)
    source = Column(Text, primary_key=True)
    platform = Column(Text)
    status = Column(Text)
    external_post_id = Column(Text)
    external_url = Column(Text)
    error_message = Column(Text)
    published_at = Column(DateTime(timezone=True))
    settled_at = Column(DateTime(timezone=True))
    next_retry_at = Column(DateTime(timezone=True))
    extra_metadata = Column(JSONB)
    updated_at = Column(DateTime(timezone=True))


class Receipt(Base):
    __tablename__ = "webhook_receipts"
    __table_args__ = {"schema": "settle"}

    dedup_key = Column(LargeBinary, primary_key=True)
    source = Column(Text, primary_key=True)
    platform = Column(Text)
    external_post_id = Column(Text)
    event_status = Column(Text)
    decisive = Column(SmallInteger)
    happened_at = Column(DateTime(timezone=True))
    received_at = Column(DateTime(timezone=True))
    url = Column(Text)
    reason = Column(Text)


class LedgerEvent(Base):
    __tablename__ = "social_sync_ledger"
    __table_args__ = {"schema": "settle"}

    id = Column(UUID(as_uuid=True), primary_key=True, default=uuid.uuid4)
    source = Column(Text, primary_key=True)
    event_type = Column(Text)
    severity = Column(Text)
    entity_type = Column(Text)
    entity_id = Column(Text)
    event_metadata = Column("metadata", JSONB)
    actor = Column(Text)
    receipt_id = Column(LargeBinary)


async def main(rows: int) -> None:
    engine = create_async_engine(os.environ["DATABASE_URL"])
    async with AsyncSession(engine, expire_on_commit=False) as session:
        started = time.monotonic()
        await reconcile(session, rows)
        print(json.dumps({"rows": rows, "seconds": time.monotonic() - started}))
    await engine.dispose()


async def reconcile(session: AsyncSession, rows: int) -> None:
    cut_off = datetime.now(timezone.utc) - timedelta(minutes=SINCE_MINUTES)
    stale = await session.scalars(
        select(PublishLog)
        .where(PublishLog.status.in_(["processing", "retry"]), PublishLog.updated_at < cut_off)
        .order_by(PublishLog.updated_at)
        .limit(rows))
    for log in stale.all():
        receipts = await session.scalars(
            select(Receipt).where(Receipt.external_post_id == log.external_post_id, Receipt.platform == log.platform,
                                  Receipt.source == log.source))
        settle(session, log, strongest(receipts.all()))
        await session.commit()


def strongest(receipts: list[Receipt]) -> Receipt | None:
    return max(receipts, key=lambda r: (r.decisive != 0, r.happened_at or r.received_at, r.dedup_key), default=None)


def settle(session: AsyncSession, log: PublishLog, receipt: Receipt | None) -> None:
    now = datetime.now(timezone.utc)
    word = {}
    if receipt is None:
        log.status, reason = "failed", "webhook_timeout"
        log.error_message = f"No webhook received after {SINCE_MINUTES} minutes"
    elif receipt.decisive == 0:
        return
    else:
        log.status, reason = ("success", "webhook_confirmed") if receipt.decisive > 0 else (
            "failed", "webhook_reported_failure")
        log.error_message = receipt.reason
        if receipt.decisive > 0:
            log.external_url = log.external_url or receipt.url
            log.published_at = log.published_at or receipt.happened_at
        word = {"webhook_received": True, "webhook_timestamp": receipt.received_at.isoformat(),
                "webhook_platform": receipt.platform, "webhook_status": receipt.event_status}
    log.settled_at = log.updated_at = now
    log.extra_metadata = {**log.extra_metadata, **word, "reconciled": True, "reconciled_at": now.isoformat(),
                          "reconciliation_reason": reason}
    session.add(LedgerEvent(
        source=log.source, event_type="publish_reconciled", severity="info" if log.status == "success" else "warn",
        entity_type="publish_log", entity_id=str(log.id), actor="row loop",
        receipt_id=receipt.dedup_key if receipt else None,
        event_metadata={"platform": log.platform, "action": f"marked_{log.status}", "reason": reason,
                        "external_post_id": log.external_post_id}))


asyncio.run(main(int(sys.argv[1])))
