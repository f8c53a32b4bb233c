"""`notify`: alerts out as signed webhooks."""

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from pipeline import settings as settings_module
from pipeline.commands.options import HomeOption
from pipeline.environment import stack_log
from pipeline.errors import ConfigurationError
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
    reopen: Annotated[
        list[str] | None,
        typer.Option(help="Let the notifier that runs use this endpoint's address again after it answered 410, and end."),
    ] = None,
) -> None:
    """Send every alert to every endpoint, signed, each id until it has arrived and never again.

    Endpoints come from GROUNDSWELL_NOTIFY__ENDPOINTS, a JSON list: [{"url": "https://…", "secrets": ["whsec_…"]}].
    """
    from pipeline.telemetry import setup_logging

    settings = settings_module.load(home)
    setup_logging(settings.log_format, settings.log_level, stack_log())
    receivers = make_receivers(settings.notify)
    if reopen:
        _reopen(settings, reopen)
        return
    if not receivers:
        log.warning("no_endpoint_set", so="alerts are read and go nowhere", fix="set GROUNDSWELL_NOTIFY__ENDPOINTS")
    with closing(_connect(settings)) as delivery_log:
        _run(settings, receivers, delivery_log, until_idle)


def _connect(settings: Settings) -> "RedisDeliveryLog":
    from pipeline.adapters.redis_delivery_log import RedisDeliveryLog

    return RedisDeliveryLog.connect(settings.redis.url.get_secret_value(), settings.redis.key_prefix)


def _reopen(settings: Settings, urls: Sequence[str]) -> None:
    """Note in the delivery log that these endpoints take webhooks again; whichever notifier runs sees it within a second."""
    from pipeline.core.delivery import EndpointState

    if set(urls) - {endpoint.url for endpoint in settings.notify.endpoints}:
        known = ", ".join(receiver.name for receiver in make_receivers(settings.notify)) or "none"
        fix = "write the address as it stands in GROUNDSWELL_NOTIFY__ENDPOINTS"
        raise ConfigurationError(f"an address given to --reopen is no endpoint; set are {known}", fix)
    with closing(_connect(settings)) as delivery_log:
        for receiver in make_receivers(settings.notify, only=urls):
            delivery_log.set_endpoint(receiver.endpoint, EndpointState())
            typer.echo(f"{receiver.name} is used again, by the notifier that runs")


def make_receivers(notify: NotifySettings, only: Sequence[str] | None = None) -> "list[WebhookReceiver]":
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
    from pipeline.jobs.notify.desk import Letters
    from pipeline.jobs.notify.notifier import make_notifier
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
