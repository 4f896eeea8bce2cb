"""`python -m ranking_service`: load the settings, build, serve."""

import sys

from ranking_service.config import RankingConfig
from ranking_service.server import NAME, build
from service_runtime.grpc_server import run_service

if __name__ == "__main__":
    sys.exit(run_service(name=NAME, config_class=RankingConfig, build=build))
