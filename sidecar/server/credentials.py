"""Credentials of a gRPC caller: the call's metadata, and its connection's certificate."""

from sidecar.server.errors import Context


class GrpcCredentials:
    """The PresentedCredentials (sidecar.identity.caller) of one gRPC call."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        """Read the credentials of this call on demand."""
        self._context = context

    def authorization(self) -> list[str | bytes]:
        """Return every `authorization` header."""
        metadata = self._context.invocation_metadata() or ()
        return [value for name, value in metadata if name == "authorization"]

    def certificate(self) -> bytes | None:
        """Return the client's certificate in PEM; None if it presented none."""
        return next(iter(self._context.auth_context().get("x509_pem_cert", ())), None)
