"""`python -m candidate_service`: read the settings, open what was built, serve."""

import sys

from candidate_service.config import CandidateConfig
from candidate_service.server import build
from service_runtime.grpc_server import run_service

if __name__ == "__main__":
    sys.exit(run_service(name="candidate_service", config_class=CandidateConfig, build=build))
