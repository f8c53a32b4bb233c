"""`notify`: alerts out as signed webhooks."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from pipeline import settings as settings_module
from pipeline.commands.options import HomeOption
from pipeline.settings import NotifySettings, Settings

if TYPE_CHECKING:
    from pipeline.adapters.redis_delivery_log import RedisDeliveryLog
    from pipeline.adapters.webhook import WebhookReceiver

log = structlog.get_logger()


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command()(notify)


def notify(
    home: HomeOption = None,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when every alert has arrived, is a dead letter or is held back.")
    ] = False,
    reopen: Annotated[list[str] | None, typer.Option(help="Address of an endpoint to use again after it answered 410.")] = None,
) -> None:
    """Send every alert to every endpoint, signed, each id until it has arrived and never again.

    Endpoints come from GROUNDSWELL_NOTIFY__ENDPOINTS, a JSON list: [{"url": "https://…", "secrets": ["whsec_…"]}].
    """
    from pipeline.adapters.redis_delivery_log import RedisDeliveryLog
    from pipeline.core.delivery import EndpointState
    from pipeline.telemetry import setup_logging

    settings = settings_module.load(home)
    setup_logging(settings.log_format, settings.log_level)
    receivers = make_receivers(settings.notify)
    if not receivers:
        log.warning("no endpoint is set, alerts are read and go nowhere", fix="set GROUNDSWELL_NOTIFY__ENDPOINTS")
    url, prefix = settings.redis.url.get_secret_value(), settings.redis.key_prefix
    with closing(RedisDeliveryLog.connect(url, prefix)) as delivery_log:
        for receiver in make_receivers(settings.notify, only=reopen or ()):
            delivery_log.set_endpoint(receiver.endpoint, EndpointState())
        _run(settings, receivers, delivery_log, until_idle)


def make_receivers(notify: NotifySettings, only: "list[str] | tuple[str, ...] | None" = None) -> "list[WebhookReceiver]":
    """Return the receivers of the settings (those whose address is in ``only``, if given); the addresses are checked."""
    from pipeline.adapters.webhook import WebhookReceiver

    return [
        WebhookReceiver(endpoint.url, [s.get_secret_value() for s in endpoint.secrets], notify.timeout_s, notify.allow_http)
        for endpoint in notify.endpoints
        if only is None or endpoint.url in only
    ]


def _run(settings: Settings, receivers: "list[WebhookReceiver]", delivery_log: "RedisDeliveryLog", until_idle: bool) -> None:
    from pipeline.adapters.health import HealthServer
    from pipeline.adapters.kafka_sink import KafkaSink
    from pipeline.adapters.kafka_source import KafkaSource
    from pipeline.adapters.stopping import stop_on_signals
    from pipeline.jobs.desk import Letters
    from pipeline.jobs.notifier import make_notifier
    from pipeline.telemetry import Metrics
    from pipeline.topics import ALERTS, DEAD_LETTERS

    kafka, notify, metrics = settings.kafka, settings.notify, Metrics()
    stop = stop_on_signals()
    with (
        closing(KafkaSink(kafka)) as sink,
        closing(KafkaSource(kafka, notify.group, [ALERTS.full_name(kafka.topic_prefix)], metrics)) as source,
    ):
        letters = Letters(sink, DEAD_LETTERS.full_name(kafka.topic_prefix), metrics)
        notifier = make_notifier(notify, source, receivers, delivery_log, letters)
        with HealthServer(metrics, notifier.readiness, notify.metrics_host, notify.metrics_port) as health:
            log.info("notifier_started", endpoints=[receiver.name for receiver in receivers], metrics_port=health.port)
            notifier.run(stop, until_idle)
