"""Sending one webhook, signed as Standard Webhooks 1.0 asks.

An attempt never raises for what the other side does: every answer, silence included, comes back as an ``Answer``. Redirects
are not followed, so a receiver cannot send the alert on to an address that nobody checked; each attempt has a connection of
its own, so a connection gone stale is not mistaken for a refusal.
"""

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import urllib3
from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from pipeline.core.delivery import EXCERPT_CHARS, Answer, Outcome, classify, parse_retry_after
from pipeline.errors import ConfigurationError

USER_AGENT: Final = "groundswell"
EXCERPT_BYTES: Final = 1024


def signed_headers(secrets: Sequence[Webhook], delivery_id: str, body: bytes, now_ms: int) -> dict[str, str]:
    """Return the three headers of Standard Webhooks: the id, the time of this attempt, one signature for each secret."""
    moment = datetime.fromtimestamp(now_ms // 1000, UTC)
    signatures = [secret.sign(delivery_id, moment, body.decode()) for secret in secrets]
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(now_ms // 1000),
        "webhook-signature": " ".join(signatures),
    }


def check_url(url: str, allow_http: bool) -> None:
    """Raise ConfigurationError unless the address is https, or http to this machine (or anywhere, with ``allow_http``)."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"notify endpoint {url!r} is no web address", "write https://host/path")
    if parts.username is not None or parts.password is not None:
        fix = "use the signature's secret instead"
        raise ConfigurationError(f"notify endpoint at {parts.hostname} carries a password", fix)
    if parts.scheme == "http" and not (allow_http or _is_loopback(parts.hostname)):
        fix = "use https, or set GROUNDSWELL_NOTIFY__ALLOW_HTTP=true where the network is trusted"
        raise ConfigurationError(f"notify endpoint {url!r} is not encrypted", fix)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class WebhookReceiver:
    """One endpoint as the notifier sees it: an id for the log, a name for people, and ``send``. Safe from several threads."""

    def __init__(self, url: str, secrets: Sequence[str], timeout_s: float, allow_http: bool = False) -> None:
        check_url(url, allow_http)
        self.endpoint = hashlib.sha256(url.encode()).hexdigest()[:16]
        self.name = f"{urlsplit(url).hostname} ({self.endpoint[:6]})"
        self._url = url
        self._secrets = tuple(_webhook(secret, self.name) for secret in secrets)
        self._timeout = urllib3.Timeout(total=timeout_s)
        self._pool = urllib3.PoolManager(num_pools=1, maxsize=1, block=False, retries=False)

    def send(self, delivery_id: str, body: bytes, now_ms: int) -> Answer:
        """POST the body once and return what came of it."""
        headers = {"content-type": "application/json", "user-agent": USER_AGENT, "connection": "close"}
        headers |= signed_headers(self._secrets, delivery_id, body, now_ms)
        try:
            return self._post(body, headers, now_ms)
        except urllib3.exceptions.NewConnectionError as error:  # the library counts it among the timeouts
            return Answer(Outcome.CONNECTION_FAILED, excerpt=_one_line(str(error)))
        except urllib3.exceptions.TimeoutError as error:
            return Answer(Outcome.TIMEOUT, excerpt=_one_line(str(error)))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return Answer(Outcome.CONNECTION_FAILED, excerpt=_one_line(str(error)))

    def _post(self, body: bytes, headers: Mapping[str, str], now_ms: int) -> Answer:
        response = self._pool.request(
            "POST", self._url, body=body, headers=headers, timeout=self._timeout, redirect=False, preload_content=False
        )
        try:
            outcome = classify(response.status)
            said = "" if outcome is Outcome.DELIVERED else response.read1(EXCERPT_BYTES).decode("utf-8", "replace")
            asked = parse_retry_after(response.headers.get("retry-after"), now_ms)
            return Answer(outcome, response.status, asked, _one_line(said))
        finally:
            response.close()


def _webhook(secret: str, name: str) -> Webhook:
    try:
        return Webhook(secret)
    except (ValueError, EmptyWebhookSecretError) as error:
        fix = "write whsec_ and the base64 of 24 to 64 random bytes"
        raise ConfigurationError(f"secret of notify endpoint {name} is not usable ({error})", fix) from error


def _one_line(text: str) -> str:
    return " ".join(text.split())[:EXCERPT_CHARS]
