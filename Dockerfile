# Builds the wheel and its environment from hash-pinned locks; the image holds only what runs.
# The tag names the exact Python; pin its digest as well where your registry gives one.
FROM python:3.13.11-slim-bookworm AS builder

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

WORKDIR /src

# Dependencies first: this layer is rebuilt when a lock changes, not when the code does.
COPY requirements-build.lock requirements-run.lock ./
RUN python -m pip install --require-hashes --only-binary :all: --requirement requirements-build.lock \
    && python -m venv /opt/tidegate \
    && /opt/tidegate/bin/python -m pip install --require-hashes --only-binary :all: --requirement requirements-run.lock

COPY pyproject.toml README.md ./
COPY feeds ./feeds
COPY runtime ./runtime
COPY strategies ./strategies
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /src/dist . \
    && /opt/tidegate/bin/python -m pip install --no-deps /src/dist/*.whl

FROM python:3.13.11-slim-bookworm

ENV PATH=/opt/tidegate/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TIDEGATE_STATE_DIR=/var/lib/tidegate

# A fixed uid, so that the owner of a mounted state folder can be set from outside.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin tidegate \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/tidegate

COPY --from=builder /opt/tidegate /opt/tidegate

USER 10001:10001
WORKDIR /var/lib/tidegate

# SIGTERM is the polite stop, the same as Ctrl-C in a terminal.
STOPSIGNAL SIGTERM

# Healthy while the run's heartbeat file is fresh; no port, no token.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 CMD ["tidegate", "health"]

ENTRYPOINT ["tidegate"]
CMD ["demo"]
