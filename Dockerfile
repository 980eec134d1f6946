# Built for linux/amd64 and linux/arm64; no Alpine, since the CEL engines have no musl wheels.
FROM python:3.12-slim AS build
COPY requirements.lock ./
# Only what the lock file names, by its hashes, as wheels: nothing is compiled.
RUN pip install --no-cache-dir --require-hashes --only-binary=:all: --target /opt/packages -r requirements.lock

FROM python:3.12-slim
LABEL org.opencontainers.image.title="Mistral spend sidecar" \
      org.opencontainers.image.description="Authorizes calls to Mistral and keeps their budgets"
COPY --from=build /opt/packages /opt/packages
COPY sidecar /opt/packages/sidecar
COPY policies /etc/sidecar/policies
RUN mkdir -p /var/lib/sidecar /run/sidecar \
    && chown 65532:65532 /var/lib/sidecar /run/sidecar \
    && pip uninstall --yes pip
USER 65532:65532
ENV PYTHONPATH=/opt/packages \
    PYTHONDONTWRITEBYTECODE=1 \
    SIDECAR_POLICIES=/etc/sidecar/policies \
    SIDECAR_LEDGER=/var/lib/sidecar/ledger.sqlite \
    SIDECAR_LISTEN="127.0.0.1:50051 unix:/run/sidecar/sidecar.sock"
VOLUME ["/var/lib/sidecar", "/run/sidecar"]
ENTRYPOINT ["python", "-m", "sidecar"]
CMD ["serve"]
