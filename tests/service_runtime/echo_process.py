"""The echo service as a process: `python -m tests.service_runtime.echo_process`."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Literal

import grpc
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from service_runtime.config import ServiceConfig
from service_runtime.errors import NotReady
from service_runtime.grpc_server import Server, run_service
from tests.service_runtime.echo import SERVICE, Echo, add_echo


class EchoConfig(ServiceConfig):
    """Settings that say what goes wrong."""

    model_config = SettingsConfigDict(env_prefix="ECHO_SERVICE_")

    warm_up: Literal["good", "slow", "not_ready", "crash", "crash_2"] = Field(
        default="good", description="What happens in warm-up."
    )
    hang_path: Path = Field(
        default=Path("-"), description="While this file is there, warm-up stands still."
    )
    hold_seconds: float = Field(default=0.0, ge=0, description="How long the text `hold` takes.")
    entered_path: Path = Field(default=Path("-"), description="File made when `hold` comes in.")
    closed_path: Path = Field(default=Path("-"), description="File made by close.")


def build(config: EchoConfig) -> Server:
    """Wire the service."""

    def behavior(request: Any, _: grpc.ServicerContext) -> Any:
        if request.text == "hold":
            config.entered_path.touch()
            deadline = time.monotonic() + config.hold_seconds
            while time.monotonic() < deadline:
                time.sleep(0.02)
        return Echo(text=config.host) if request.text == "host" else request

    def warm_up() -> None:
        if config.warm_up == "slow":
            print("warming up", flush=True)  # noqa: T201  tells the test
            time.sleep(60)
        if config.hang_path.exists():
            os.kill(os.getpid(), signal.SIGSTOP)
        if config.warm_up == "not_ready":
            raise NotReady("there is no shelf", hint="run the job build_shelf")
        if config.warm_up in ("crash", f"crash_{config.process_number}"):
            raise ZeroDivisionError("by nothing")

    return Server(
        config,
        name="echo_service",
        add_services=add_echo(behavior),
        service_names=[SERVICE],
        warm_up=warm_up,
        close=lambda: config.closed_path.touch() if config.closed_path.name != "-" else None,
    )


if __name__ == "__main__":
    sys.exit(run_service(name="echo_service", config_class=EchoConfig, build=build))
