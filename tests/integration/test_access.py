"""Who may do what to the three real services, by the access file that docs/security.md shows."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from corkboard.candidate.v1 import candidate_service_pb2 as candidate_pb
from corkboard.client import Client
from corkboard.profile.v1 import profile_service_pb2 as profile_pb
from corkboard.ranking.v1 import ranking_service_pb2 as ranking_pb
from corkboard.ranking.v1.ranking_service_pb2_grpc import RankingServiceStub
from corkboard.stack import SERVICES, Stack
from service_runtime.access import Role
from service_runtime.audit_trail import read_trail
from service_runtime.errors import NotAuthenticated, PermissionDenied
from service_runtime.grpc_client import call, open_channel
from service_runtime.tls import TlsFiles
from tests.integration.world import AS_OF, QUICK, copy_of_root
from tests.service_runtime.certificates import Authority

GUIDE = Path(__file__).parents[2] / "docs" / "security.md"


def documented_file() -> str:
    """The access file as the guide has it."""
    (found,) = re.findall(
        r"```toml\n(trust_forwarded_identity.*?)```", GUIDE.read_text(), re.DOTALL
    )
    return str(found)


class House:
    """Three services with mutual TLS and that access file.

    Attributes:
        root: Their data root.
    """

    def __init__(self, folder: Path) -> None:
        self.root = copy_of_root(folder)
        self._folder = folder
        self._authority = Authority(folder)
        access = folder / "access.toml"
        access.write_text(documented_file())
        ranking = "spiffe://cluster.local/ns/corkboard/sa/ranking-service"
        names = dict.fromkeys(SERVICES, "") | {"ranking_service": ranking}
        settings = {}
        for service, uri in names.items():
            pair = self._authority.issue(service, uri=uri)
            settings[service] = [
                *QUICK,
                f"access_file={access}",
                f"tls_certificate_file={pair.certificate}",
                f"tls_key_file={pair.key}",
                f"tls_client_ca_file={self._authority.path}",
            ]
        settings["ranking_service"].append(f"tls_ca_file={self._authority.path}")
        self.stack = Stack(
            data_root=self.root,
            settings=settings,
            fixed_time=AS_OF.timestamp(),
            tls=self.files("prober"),
        )

    def files(self, name: str) -> TlsFiles:
        """A certificate of a common name."""
        pair = self._authority.issue(name)
        return TlsFiles(pair.certificate, pair.key, self._authority.path)

    def client(self, name: str, token: str = "") -> Client:
        """A client with a certificate of a common name, and a token if there is one."""
        file = self._folder / "token"
        file.write_text(token)
        target = {name.removesuffix("_service"): to for name, to in self.stack.targets.items()}
        return Client(**target, tls=self.files(name), token_file=file if token else None)

    def ranking(self, name: str) -> grpc.Channel:
        """A channel to ranking_service with a certificate of a common name."""
        return open_channel(self.stack.targets["ranking_service"], tls=self.files(name))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The services, started."""
    house = House(tmp_path_factory.mktemp("house"))
    with house.stack:
        yield house


def test_a_shop_is_served_whole(house: House) -> None:
    """A token of a reader and writer: answers with profile and candidates, and facts are taken."""
    with house.client("shop-server", token="test") as shop:  # noqa: S106
        answer = shop.recommend("ana", limit=5)
        shop.record("ana", answer.pins[0].pin_id)
        with pytest.raises(PermissionDenied, match="operator"):
            shop.erase("ana")

    assert len(answer.pins) == 5
    assert not answer.degradations, "ranking_service itself was let in by the others"


def test_an_erasure_through_ranking_reaches_all_and_names_both(house: House) -> None:
    """On-call asks ranking_service, which passes it on as itself."""
    with house.ranking("on-call") as channel:
        stub: Any = RankingServiceStub(channel)
        receipt = call(stub.EraseUser, ranking_pb.EraseUserRequest(user_id="bob"), timeout_s=10)
        with pytest.raises(PermissionDenied, match="reader"):
            call(stub.RecommendPins, ranking_pb.RecommendPinsRequest(user_id="ana"), timeout_s=10)

    reached = {store.store.partition(":")[0] for store in receipt.stores}
    left = [one for one in receipt.stores if one.state == ranking_pb.ERASURE_STATE_NOT_REACHED]
    assert reached == {"ranking", "profile", "candidate"}
    assert not left
    erased = [line for line in read_trail(house.root) if line["action"] == "EraseUser"]
    told = {(line["by"], line["caller"]) for line in erased if "user" in line}
    assert told == {
        ("ranking_service", "on-call"),
        ("profile_service", "ranking-service"),
        ("candidate_service", "ranking-service"),
    }


def test_whoever_is_not_in_the_file_gets_nothing(house: House) -> None:
    """A certificate by the same authority, or a token that nobody has, opens no service."""
    with house.client("stranger", token="guess") as stranger:  # noqa: S106
        for ask in (
            lambda: stranger.recommend("ana"),
            lambda: stranger.record("ana", "p1"),
            lambda: stranger.pins(["p1"]),
        ):
            with pytest.raises(NotAuthenticated):
                ask()


@pytest.mark.parametrize(
    ("module", "messages"),
    [
        ("profile_service.server", profile_pb),
        ("candidate_service.server", candidate_pb),
        ("ranking_service.server", ranking_pb),
    ],
)
def test_every_method_of_the_contract_has_a_role(module: str, messages: Any) -> None:
    """One that had none could be called by nobody; one that is gone should not stay listed."""
    roles = __import__(module, fromlist=["ROLES"]).ROLES
    (service,) = messages.DESCRIPTOR.services_by_name.values()

    assert set(roles) == {method.name for method in service.methods}
    assert set(roles.values()) <= set(Role)
