# syntax=docker/dockerfile:1
# Two stages: pip and its cache stay in the first. Build with `docker build --tag aichat .`
# With Sentry and OpenTelemetry: `--build-arg REQUIREMENTS=requirements-monitoring.txt`
FROM python:3.13-slim AS packages
ARG REQUIREMENTS=requirements.txt
COPY requirements.txt requirements-monitoring.txt ./
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --only-binary :all: --require-hashes --no-deps -r "$REQUIREMENTS"

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /app aichat && install --directory --owner=aichat /data
COPY --from=packages /venv /venv
WORKDIR /app
COPY . .
RUN ln -s /data var && /venv/bin/python -m compileall -q .
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 HOST=0.0.0.0
USER aichat
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD \
    ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ.get('PORT') or 8000}/healthz\", timeout=2)"]
# Tables are brought up to date at each start; with many replicas, run `quickstart` once before them and `gunicorn` in each.
CMD ["sh", "-c", "python manage.py quickstart && exec gunicorn aichat.asgi:application"]
