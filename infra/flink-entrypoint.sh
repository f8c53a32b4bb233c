#!/bin/bash
# Start a part of Flink with the settings of infra/flink_cluster.py, or run another command. The packaged configuration
# folder stays, because it holds the module openings that jobs need; what differs is given as options.
set -euo pipefail

options=(
  -D jobmanager.rpc.address=flink-jobmanager
  -D jobmanager.bind-host=0.0.0.0
  -D rest.address=flink-jobmanager
  -D rest.bind-address=0.0.0.0
  -D taskmanager.bind-host=0.0.0.0
  -D taskmanager.numberOfTaskSlots=2
  -D parallelism.default=1
  -D heartbeat.interval=3000
  -D heartbeat.timeout=15000
  -D execution.checkpointing.num-retained=3
  -D execution.checkpointing.externalized-checkpoint-retention=RETAIN_ON_CANCELLATION
  -D execution.checkpointing.dir=file:///data/checkpoints
  -D execution.checkpointing.savepoint-dir=file:///data/savepoints
  -D restart-strategy.type=exponential-delay
  -D restart-strategy.exponential-delay.initial-backoff=1s
  -D restart-strategy.exponential-delay.max-backoff=30s
  -D pekko.ask.timeout=30s
  -D metrics.reporters=prometheus
  -D metrics.reporter.prometheus.factory.class=org.apache.flink.metrics.prometheus.PrometheusReporterFactory
  -D metrics.reporter.prometheus.port=9249
)

case "$1" in
  jobmanager) exec jobmanager.sh start-foreground "${options[@]}" ;;
  taskmanager) exec taskmanager.sh start-foreground "${options[@]}" -D "taskmanager.host=$(hostname -i)" ;;
  *) exec "$@" ;;
esac
