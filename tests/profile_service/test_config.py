"""The settings: what stands there is allowed, what is printed reads back."""

from pathlib import Path

import pytest

from profile_service.config import ProfileConfig
from service_runtime.config import load_config, print_config
from service_runtime.config_draft import ConfigError


def test_printed_settings_read_back(tmp_path: Path) -> None:
    """`--print-config` gives a file that means the same."""
    path = tmp_path / "profile.toml"
    path.write_text(print_config(ProfileConfig()))

    assert load_config(ProfileConfig, path=path, environment={}) == ProfileConfig()


def test_all_faults_are_told_at_once() -> None:
    """Each with the variable's name, what was given, and the allowed range."""
    environment = {
        "PROFILE_SERVICE_ALPHA": "0",
        "PROFILE_SERVICE_WINDOW_DAYS": "many",
        "PROFILE_SERVICE_LIVE_MAP_BYTES": "12",
    }

    with pytest.raises(ConfigError) as caught:
        load_config(ProfileConfig, environment=environment)

    text = str(caught.value)
    assert all(name in text for name in environment)
    assert len(caught.value.faults) == 3


def test_rules_are_the_settings() -> None:
    """The batch job and the service read their constants from one place."""
    rules = ProfileConfig(alpha=0.7, window_days=60, decay_per_day=0.1).rules()

    assert (rules.alpha, rules.window_days, rules.decay_per_day) == (0.7, 60, 0.1)
