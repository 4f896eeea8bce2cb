"""The channels to the three services, and a call that always has a deadline."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from corkboard.candidate.v1 import candidate_service_pb2_grpc as candidate_grpc
from corkboard.profile.v1 import profile_service_pb2_grpc as profile_grpc
from corkboard.ranking.v1 import ranking_service_pb2_grpc as ranking_grpc
from service_runtime.grpc_client import call, open_channel
from service_runtime.tls import TlsFiles

PROFILE_TARGET = "127.0.0.1:50051"
CANDIDATE_TARGET = "127.0.0.1:50052"
RANKING_TARGET = "127.0.0.1:50053"
DEADLINE_S = 5.0


class Connection:
    """Channels that connect when they are first used; close it, or use it with `with`."""

    def __init__(
        self,
        *,
        profile: str = PROFILE_TARGET,
        candidate: str = CANDIDATE_TARGET,
        ranking: str = RANKING_TARGET,
        deadline_s: float = DEADLINE_S,
        tls: TlsFiles | None = None,
        token_file: Path | None = None,
    ) -> None:
        self.targets = {
            "profile_service": profile,
            "candidate_service": candidate,
            "ranking_service": ranking,
        }
        self._deadline_s = deadline_s
        self._channels = [
            open_channel(target, tls=tls, token_file=token_file) for target in self.targets.values()
        ]
        self._profile = profile_grpc.ProfileServiceStub(self._channels[0])
        self._candidate = candidate_grpc.CandidateServiceStub(self._channels[1])
        self._ranking = ranking_grpc.RankingServiceStub(self._channels[2])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channels; calls under way are cancelled."""
        for channel in self._channels:
            channel.close()

    def _call(self, method: Any, request: Any, deadline_s: float = 0.0) -> Any:
        return call(method, request, timeout_s=deadline_s or self._deadline_s)
