"""What gRPC has of who calls: the call's metadata, and the certificate of its connection."""

from sidecar.server.errors import Context


class GrpcCredentials:
    """What came with one call. See sidecar.identity.caller.Presented."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        """Look at the call when asked."""
        self._context = context

    def authorization(self) -> list[str | bytes]:
        """Return every header of that name."""
        metadata = self._context.invocation_metadata() or ()
        return [value for name, value in metadata if name == "authorization"]

    def certificate(self) -> bytes | None:
        """Return the client's certificate in PEM, None where the connection has none."""
        return next(iter(self._context.auth_context().get("x509_pem_cert", ())), None)
