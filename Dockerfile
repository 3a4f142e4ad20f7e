# The relay as an image: a sidecar, or a service of its own. Mount the configuration at /etc/ses-relay/relay.yaml;
# inside a container its listeners and `admin` must bind 0.0.0.0 (or [::]) to be reached from outside.
# Needs nothing writable but the folder of a spool: run it with a read-only root, without capabilities, as any user.
# A spool needs a volume at /var/lib/ses-relay that user 10001 may write to: a named one takes its owner from here, a
# folder of the host needs `chown 10001:10001`, Kubernetes `fsGroup: 10001`. Without one it is lost with the container.

ARG BASE_IMAGE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# First what changes seldom: the tools that make the package, then the dependencies, all checked by hash. Wheels
# only, so that nothing is compiled and no compiler is needed.
COPY requirements-build.lock requirements.lock ./
RUN python -m venv /build \
    && /build/bin/python -m pip install --require-hashes --only-binary=:all: -r requirements-build.lock \
    && python -m venv --without-pip /opt/ses-relay \
    && /build/bin/python -m pip --python /opt/ses-relay/bin/python install \
        --require-hashes --only-binary=:all: -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY relay relay
RUN /build/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /build/bin/python -m pip --python /opt/ses-relay/bin/python install --no-deps --no-index /wheels/*.whl

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="ses-relay" \
      org.opencontainers.image.description="A local SMTP smarthost for Amazon SES sending authorization" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 ses-relay \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin ses-relay \
    && mkdir /etc/ses-relay \
    && mkdir -m 700 /var/lib/ses-relay && chown 10001:10001 /var/lib/ses-relay
COPY --from=build /opt/ses-relay /opt/ses-relay
ENV PATH=/opt/ses-relay/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SES_RELAY_CONFIG=/etc/ses-relay/relay.yaml
USER 10001:10001
EXPOSE 2525 9525
STOPSIGNAL SIGTERM
# A damaged spool is mended before the relay is ready, and a tenth of a processor needs seconds to ask.
HEALTHCHECK --interval=30s --timeout=15s --start-period=5m --retries=3 CMD ["ses-relay", "health"]
ENTRYPOINT ["ses-relay"]
CMD ["run"]
