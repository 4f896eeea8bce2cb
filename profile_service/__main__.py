"""`python -m profile_service`: load the settings, build, serve."""

import sys

from profile_service.config import ProfileConfig
from profile_service.server import NAME, build
from service_runtime.grpc_server import run_service

if __name__ == "__main__":
    sys.exit(run_service(name=NAME, config_class=ProfileConfig, build=build))
