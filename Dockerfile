# For linux/amd64 and linux/arm64; no Alpine, since the CEL engines have no musl wheels.
ARG PYTHON=3.12.11-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /build
COPY requirements.lock ./
# Only what the lock file names, by its hashes, as wheels: nothing is compiled. sqlite-utils
# asks for pip, to install plugins that are not used here.
RUN python -m pip install --no-cache-dir --no-compile --require-hashes --only-binary=:all: \
      --target /opt/packages -r requirements.lock \
    && rm -r /opt/packages/pip /opt/packages/pip-*.dist-info
COPY sidecar /opt/packages/sidecar
COPY clients/python/mistral_spend /opt/packages/mistral_spend
# What `sidecar --version` says this was built from: --build-arg COMMIT=$(git rev-parse HEAD)
ARG COMMIT
# A read-only root cannot take bytecode at the first start, so the image has it.
RUN { [ -z "${COMMIT}" ] || echo "COMMIT = '${COMMIT}'" >/opt/packages/sidecar/_commit.py; } \
    && python -m compileall -q -f --invalidation-mode unchecked-hash /opt/packages

FROM python:${PYTHON}
ARG COMMIT
LABEL org.opencontainers.image.title="Mistral spend sidecar" \
      org.opencontainers.image.description="May this call to Mistral go out, and what is left to spend?" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${COMMIT}" \
      org.opencontainers.image.documentation="docs/deploy.md"
# The standard library comes without bytecode, and with a pip that nothing here needs.
RUN python -m pip uninstall --quiet --yes --root-user-action=ignore pip \
    && rm -rf /usr/local/lib/python3*/ensurepip \
    && python -m compileall -q -f --invalidation-mode unchecked-hash /usr/local/lib \
    && mkdir -p /var/lib/sidecar /run/sidecar \
    && chown 65532:65532 /var/lib/sidecar /run/sidecar
COPY --from=build /opt/packages /opt/packages
COPY policies /etc/sidecar/policies
USER 65532:65532
# PYTHONSAFEPATH: no module is loaded from the working directory.
ENV PYTHONPATH=/opt/packages \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SIDECAR_POLICIES=/etc/sidecar/policies \
    SIDECAR_LEDGER=/var/lib/sidecar/ledger.sqlite \
    SIDECAR_LISTEN="127.0.0.1:50051 unix:/run/sidecar/sidecar.sock" \
    SIDECAR_HEALTH_LISTEN=127.0.0.1:8086
# All folders that are written; with these and /tmp, the root may be read-only.
VOLUME ["/var/lib/sidecar", "/run/sidecar"]
# For engines that use it; Kubernetes has its own probes, see deploy/.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-m", "sidecar", "healthz", "--address", "127.0.0.1:8086"]
ENTRYPOINT ["python", "-m", "sidecar"]
CMD ["serve"]
