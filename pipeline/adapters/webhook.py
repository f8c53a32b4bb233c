"""Sending one webhook, signed as Standard Webhooks 1.0 asks.

An attempt never raises for what the other side does: every answer, silence included, comes back as an ``Answer``, and in
time. Redirects are not followed, so a receiver cannot send the alert on to an address that nobody checked; each attempt has a
connection of its own, so a connection gone stale is not mistaken for a refusal.
"""

import hashlib
from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Final
from urllib.parse import urlsplit

import urllib3
from standardwebhooks import Webhook
from urllib3 import BaseHTTPResponse, HTTPConnectionPool
from urllib3.util import parse_url

from pipeline.adapters.webhook_address import check_url
from pipeline.adapters.webhook_connection import POOLS, Deadline
from pipeline.core.delivery import EXCERPT_CHARS, Answer, Outcome, classify, parse_retry_after
from pipeline.errors import ConfigurationError

USER_AGENT: Final = "groundswell"
EXCERPT_BYTES: Final = 1024
SECRET_BYTES: Final = range(24, 65)
UNANSWERED: Final = (urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError)
"""What the library raises for what the other side does; ValueError where a number or a name is none."""


def signed_headers(secrets: Sequence[Webhook], delivery_id: str, body: bytes, now_ms: int) -> dict[str, str]:
    """Return the three headers of Standard Webhooks: the id, the time of this attempt, one signature for each secret."""
    moment = datetime.fromtimestamp(now_ms // 1000, UTC)
    signatures = [secret.sign(delivery_id, moment, body.decode()) for secret in secrets]
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(now_ms // 1000),
        "webhook-signature": " ".join(signatures),
    }


class WebhookReceiver:
    """One endpoint as the notifier sees it: an id for the log, a name for people, and ``send``. Safe from several threads."""

    def __init__(self, url: str, secrets: Sequence[str], timeout_s: float, allow_http: bool = False) -> None:
        check_url(url, allow_http)
        self.endpoint = hashlib.sha256(url.encode()).hexdigest()[:16]
        self.name = f"{urlsplit(url).hostname} ({self.endpoint[:6]})"
        self._url = parse_url(url)
        self._secrets = tuple(_webhook(secret, self.name) for secret in secrets)
        self._timeout_s = timeout_s

    def send(self, delivery_id: str, body: bytes, now_ms: int) -> Answer:
        """POST the body once and return what came of it, ``timeout_s`` from now at the latest."""
        headers = {"content-type": "application/json", "user-agent": USER_AGENT, "connection": "close"}
        headers |= signed_headers(self._secrets, delivery_id, body, now_ms)
        with Deadline(self._timeout_s) as deadline:
            try:
                return self._post(body, headers, now_ms, deadline)
            except UNANSWERED as error:
                return self._failed(error, deadline)

    def _post(self, body: bytes, headers: Mapping[str, str], now_ms: int, deadline: Deadline) -> Answer:
        with self._pool(deadline) as pool:
            response = pool.request(
                "POST", self._url.request_uri, body=body, headers=headers, redirect=False, preload_content=False
            )
            try:
                if deadline.over():  # what was cut off within its headers looks like a whole answer
                    raise TimeoutError
                outcome = classify(response.status)
                said = "" if outcome is Outcome.DELIVERED else _head_of(response)
                asked = parse_retry_after(response.headers.get("retry-after"), now_ms)
                return Answer(outcome, response.status, asked, self._excerpt(said))
            finally:
                response.close()

    def _failed(self, error: Exception, deadline: Deadline) -> Answer:
        if isinstance(error, urllib3.exceptions.NewConnectionError):  # the library counts it among the timeouts
            return Answer(Outcome.CONNECTION_FAILED, excerpt=self._excerpt(str(error)))
        if isinstance(error, urllib3.exceptions.TimeoutError):
            return Answer(Outcome.TIMEOUT, excerpt=self._excerpt(str(error)))
        if deadline.over():
            return Answer(Outcome.TIMEOUT, excerpt=f"no whole answer within {self._timeout_s:g} s")
        return Answer(Outcome.CONNECTION_FAILED, excerpt=self._excerpt(str(error)))

    def _excerpt(self, text: str) -> str:
        """Return the beginning of what was said on one line, without the path of the address, which is often a token."""
        for part in (self._url.request_uri, self._url.path or "/"):
            text = text.replace(part, "/…") if part != "/" else text
        return " ".join(text.split())[:EXCERPT_CHARS]

    def _pool(self, deadline: Deadline) -> HTTPConnectionPool:
        """Return a pool of one connection, for one attempt."""
        timeout = urllib3.Timeout(total=self._timeout_s)
        return POOLS[str(self._url.scheme)](str(self._url.host), self._url.port, timeout, retries=False, deadline=deadline)


def _head_of(response: BaseHTTPResponse) -> str:
    """Return the beginning of the body; nothing where it cannot be read, for the status counts even so."""
    try:
        return response.read1(EXCERPT_BYTES).decode("utf-8", "replace")
    except UNANSWERED:
        return ""


def _webhook(secret: str, name: str) -> Webhook:
    prefix, _, key = secret.partition("_")
    try:
        usable = prefix == "whsec" and len(b64decode(key, validate=True)) in SECRET_BYTES
    except ValueError:  # no base64, or not even ASCII
        usable = False
    if not usable:
        fix = "write whsec_ and the base64 of 24 to 64 random bytes"
        raise ConfigurationError(f"a secret in GROUNDSWELL_NOTIFY__ENDPOINTS, of {name}, is not usable", fix)
    return Webhook(secret)
