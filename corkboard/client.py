"""One object for the three services.

```python
from corkboard import Client

with Client() as client:
    print(client.recommend("u1", limit=25))
    client.record("u1", "m242", "save")
```
"""

from corkboard.calls.connection import (
    CANDIDATE_TARGET,
    DEADLINE_S,
    PROFILE_TARGET,
    RANKING_TARGET,
)
from corkboard.calls.profile import ProfileCalls
from corkboard.calls.ranking import RankingCalls
from service_runtime.tls import TlsFiles

__all__ = [
    "CANDIDATE_TARGET",
    "DEADLINE_S",
    "PROFILE_TARGET",
    "RANKING_TARGET",
    "Client",
    "TlsFiles",
]


class Client(RankingCalls, ProfileCalls):
    """Speaks to ranking_service, profile_service and candidate_service; use it with `with`.

    Channels connect when they are first used, so making a client costs nothing and needs no server.
    Safe to share between threads.  Every call has a deadline.

    Args:
        profile: Target of profile_service, host:port or any gRPC target.
        candidate: Target of candidate_service.
        ranking: Target of ranking_service.
        deadline_s: Seconds that a call may take if it is not told otherwise; > 0.
        tls: Who signed the services' certificates, and our own where they want one; files are read
            again when they change. None = plain.
        token_file: File with the token to show with every call; None = none.

    Raises (every method):
        InvalidRequest: A field is wrong; the error names it.
        NotFound: What the request names does not exist.
        Unavailable: The service cannot be reached.
        DeadlineExceeded: The answer did not come in time.
        CorkboardError: Any other refusal, by the families of service_runtime.errors.
    """
