"""Writes signed webhook requests of equal length to one file, so that wrk reads the n-th by its place.

Each is different: an instagram webhook for another post, with the signature that its body needs. The load generator
then spends nothing on making requests.
"""

import hashlib
import hmac

SECRET = "bench-secret"
POSTS = 500_000
STRIDE = 7919  # shares no factor with POSTS: neighbours in time are not neighbours in an index
BODY_BYTES = 600
HEAD_BYTES = 262

_BODY = (
    '{{"external_post_id": "p_{post:07d}", "media_url": "https://media.example/reels/{n:012d}.mp4", '
    '"status": "{status}", "timestamp": "2026-01-15T10:{minute:02d}:{second:02d}Z", "caption": "'
)
_HEAD = (
    "POST /publishing/webhooks/instagram HTTP/1.1\r\n"
    "Host: 127.0.0.1\r\n"
    "User-Agent: bench/1\r\n"
    "Content-Type: application/json\r\n"
    "X-Hub-Signature-256: sha256={signature}\r\n"
    "Content-Length: {length}\r\n"
)
_FILLER = "A day at the sea with friends, cold water and warm bread. " * 16


def body_of(n: int) -> bytes:
    """The body of request n; the first POSTS requests name POSTS different posts."""
    text = _BODY.format(post=n * STRIDE % POSTS, n=n, status="published", minute=n // 60 % 60, second=n % 60)
    return (text + _FILLER)[: BODY_BYTES - 2].encode() + b'"}'


def request_of(n: int) -> bytes:
    """Request n as it goes over the wire, padded to HEAD_BYTES + BODY_BYTES by a header nobody reads."""
    body = body_of(n)
    head = _HEAD.format(signature=signature_of(body), length=len(body)).encode()
    padding = HEAD_BYTES - len(head) - len(b"X-Pad: \r\n\r\n")
    return head + b"X-Pad: " + b"-" * padding + b"\r\n\r\n" + body


def signature_of(body: bytes) -> str:
    return hmac.digest(SECRET.encode(), body, hashlib.sha256).hex()


def write_requests(path: str, count: int) -> None:
    with open(path, "wb", buffering=1 << 20) as file:
        for n in range(count):
            file.write(request_of(n))
