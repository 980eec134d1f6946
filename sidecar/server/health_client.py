"""Client of grpc.health.v1, for probes; imports little, since probes run often."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def status(address: str, service: str, timeout_seconds: float) -> str:
    """Return SERVING or NOT_SERVING, or the error's status and message."""
    request = health_pb2.HealthCheckRequest(service=service)
    with grpc.insecure_channel(address) as channel:
        try:
            response = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout_seconds)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))
