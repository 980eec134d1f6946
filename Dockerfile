# Built for linux/amd64 and linux/arm64; no Alpine, since the CEL engines have no musl wheels.
FROM python:3.12-slim AS build
WORKDIR /build
RUN python -m venv /opt/sidecar
COPY requirements.lock ./
RUN /opt/sidecar/bin/pip install --no-cache-dir --require-hashes --only-binary=:all: -r requirements.lock
COPY pyproject.toml README.md ./
COPY sidecar ./sidecar
RUN pip wheel --no-cache-dir --no-deps --wheel-dir dist . \
    && /opt/sidecar/bin/pip install --no-cache-dir --no-deps dist/*.whl \
    && /opt/sidecar/bin/pip uninstall --yes pip

FROM python:3.12-slim
LABEL org.opencontainers.image.title="Mistral spend sidecar" \
      org.opencontainers.image.description="Authorizes calls to Mistral and keeps their budgets"
COPY --from=build /opt/sidecar /opt/sidecar
COPY policies /etc/sidecar/policies
RUN mkdir -p /var/lib/sidecar /run/sidecar && chown 65532:65532 /var/lib/sidecar /run/sidecar
USER 65532:65532
ENV PYTHONDONTWRITEBYTECODE=1 \
    SIDECAR_POLICIES=/etc/sidecar/policies \
    SIDECAR_LEDGER=/var/lib/sidecar/ledger.sqlite \
    SIDECAR_LISTEN="127.0.0.1:50051 unix:/run/sidecar/sidecar.sock"
VOLUME ["/var/lib/sidecar", "/run/sidecar"]
ENTRYPOINT ["/opt/sidecar/bin/sidecar"]
CMD ["serve"]
