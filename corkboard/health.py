"""Asks a server's standard health service how it is."""

from grpc_health.v1 import health_pb2, health_pb2_grpc

from service_runtime.errors import CorkboardError
from service_runtime.grpc_client import call, open_channel
from service_runtime.tls import TlsFiles

SERVING = "SERVING"
UNREACHABLE = "UNREACHABLE"


def check_health(
    target: str, *, service: str = "", timeout_s: float = 2.0, tls: TlsFiles | None = None
) -> str:
    """The health of the server at *target*: SERVING, NOT_SERVING or UNREACHABLE.

    Args:
        target: host:port.
        service: Full proto name of a service; "" = the whole server.
        timeout_s: Most seconds to wait, > 0.
        tls: As of `Client`; None = plain.
    """
    channel = open_channel(target, attempts_max=1, tls=tls)
    try:
        request = health_pb2.HealthCheckRequest(service=service)
        answer = call(health_pb2_grpc.HealthStub(channel).Check, request, timeout_s=timeout_s)
    except CorkboardError:
        return UNREACHABLE
    finally:
        channel.close()
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
