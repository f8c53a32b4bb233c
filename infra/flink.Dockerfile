# Flink as the local stack runs it: apache-flink from its lock, the Kafka connector checked against its lock, and of this
# project only what jobs may import. Nothing runs as root.
FROM maven:3.9-eclipse-temurin-21 AS connector
ARG CONNECTOR=org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2
COPY infra/locks/jars.toml /jars.toml
RUN mvn --quiet dependency:copy -Dartifact=${CONNECTOR} -DoutputDirectory=/jars -Dmdep.stripVersion=true \
    && sha256=$(sed -n "s/^\"${CONNECTOR}\" = \"\(.*\)\"$/\1/p" /jars.toml) \
    && echo "${sha256}  /jars/flink-sql-connector-kafka.jar" | sha256sum --check

FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install --yes --no-install-recommends openjdk-17-jre-headless \
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 1000 flink && useradd --uid 1000 --gid flink --create-home flink \
    && mkdir -p /data /var/log/flink && chown flink:flink /data /var/log/flink
COPY infra/locks/flink.txt /tmp/flink.txt
RUN pip install --no-cache-dir --require-hashes -r /tmp/flink.txt && rm /tmp/flink.txt

COPY --from=connector /jars/flink-sql-connector-kafka.jar /opt/groundswell/
COPY pipeline/__init__.py pipeline/errors.py pipeline/contract.py pipeline/events.py pipeline/topics.py /opt/groundswell/pipeline/
COPY pipeline/core /opt/groundswell/pipeline/core
COPY pipeline/jobs /opt/groundswell/pipeline/jobs
RUN python -c "import shutil; shutil.make_archive('/opt/groundswell/pipeline', 'zip', '/opt/groundswell', 'pipeline')"
COPY infra/submit_trends.py infra/flink-entrypoint.sh /opt/groundswell/

ENV FLINK_HOME=/usr/local/lib/python3.11/site-packages/pyflink \
    FLINK_LOG_DIR=/var/log/flink
ENV PATH="${FLINK_HOME}/bin:${PATH}"
USER flink
VOLUME /data
ENTRYPOINT ["/bin/bash", "/opt/groundswell/flink-entrypoint.sh"]
