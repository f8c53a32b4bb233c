# The application: command line, producers, workers, notifier. The lock's torch is the CUDA build; the image serves both
# profiles. Nothing is compiled, nothing runs as root.
FROM python:3.11-slim-bookworm

RUN groupadd --gid 1000 app && useradd --uid 1000 --gid app --create-home app \
    && mkdir -p /data /flink && chown app:app /data /flink

WORKDIR /opt/groundswell
COPY infra/locks/uv.txt infra/locks/app.txt infra/locks/
RUN pip install --no-cache-dir --require-hashes -r infra/locks/uv.txt
RUN uv pip install --system --no-cache --require-hashes -r infra/locks/app.txt

COPY pyproject.toml README.md LICENSE ./
COPY pipeline pipeline
COPY producers producers
COPY workers workers
COPY infra infra
RUN uv pip install --system --no-cache --no-deps --no-build-isolation .

USER app
VOLUME /data
ENV PYTHONUNBUFFERED=1
CMD ["groundswell", "--help"]
