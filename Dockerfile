# syntax=docker/dockerfile:1
# Two stages: pip, its cache and what a server never reads stay in the first. Build with `make image`.
# With Sentry and OpenTelemetry: `--build-arg REQUIREMENTS=requirements-monitoring.txt`
# Another base with Python and Debian's tools, such as a mirror's: `--build-arg BASE=registry.example.com/python:3.13-slim`
ARG BASE=python:3.13-slim
FROM ${BASE} AS packages
ARG REQUIREMENTS=requirements.txt
RUN apt-get update && apt-get install --yes --no-install-recommends binutils
COPY requirements.txt requirements-monitoring.txt ./
RUN python -m venv /pip && python -m venv --without-pip /venv && /pip/bin/pip --python /venv/bin/python install \
    --no-cache-dir --no-compile --only-binary :all: --require-hashes --no-deps -r "$REQUIREMENTS"
# More than half of it goes: debug symbols, languages other than the product's, what compilers, type checkers and pip read, maps of scripts,
# tests, PostHog's wrappers of SDKs, pages that are not shown (DRF's and Redoc's), pictures in AVIF, and what boto3 knows of services other
# than S3 and those that log in to it.
RUN find /venv -type f \( -name '*.so' -o -name '*.so.*' \) -exec strip --strip-unneeded {} + \
    && find /venv -path '*/locale/*/*' ! -path '*/en/*' ! -path '*/de/*' -delete \
    && cd /venv/lib/*/site-packages \
    && find . -type f -regex '.*\.\(po\|js\.map\|pyi\|pyx\|pxd\|c\|h\)' -delete -o -path '*.dist-info/RECORD' -delete \
    && find botocore/data boto3/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts ! -name 'sso*' ! -name signin -exec rm -r {} + \
    && rm -rf */tests posthog/test posthog/ai posthog/mcp guardian/testapp rest_framework/static PIL/_avif.* pillow.libs/libavif* \
        drf_spectacular_sidecar/static/drf_spectacular_sidecar/redoc \
    && find . -type d -empty -delete

FROM ${BASE}
RUN useradd --uid 10001 --no-create-home --home-dir /app aichat && install --directory --owner=aichat /data
COPY --from=packages /venv /venv
WORKDIR /app
COPY . .
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 HOST=0.0.0.0
# What the product imports is compiled here, also of Python's own library: the root is read-only later. `var`, with the key and the
# database that this makes, is thrown away.
RUN python -m compileall -q . && DJANGO_SETTINGS_MODULE=aichat.settings python -c "import django, importlib, pkgutil; \
django.setup(); [importlib.import_module(module.name) \
for package in ('accounts', 'admin_dashboard', 'aichat', 'credits') \
for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + '.')]" \
    && rm -rf var && ln -s /data var
USER aichat
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD \
    ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ.get('PORT') or 8000}/healthz\", timeout=2)"]
# Tables are brought up to date at each start; with many replicas, run `quickstart` once before them and `gunicorn` in each.
CMD ["sh", "-c", "python manage.py quickstart && exec gunicorn aichat.asgi:application"]
