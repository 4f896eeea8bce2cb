"""Settings that contradict each other are refused at the start, by name."""

from __future__ import annotations

import pytest

from candidate_service.config import CandidateConfig
from candidate_service.source_registry import BUILT_IN, load_plugins
from service_runtime.config import load_config
from service_runtime.config_draft import ConfigError


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("sources=ann,magic", "unknown: magic"),
        ("sources=ann,ann", "named twice"),
        ("index_recall_target=0.5", "index_recall_min"),
        ('candidate_counts={"ann": 2001}', "2000"),
        ('candidate_counts={"magic": 20}', "unknown: magic"),
        ("index_expansion_add=64", "128"),
    ],
)
def test_contradictions_are_refused(override: str, reason: str) -> None:
    """The error names the setting and what is allowed."""
    with pytest.raises(ConfigError, match=reason):
        load_config(CandidateConfig, overrides=[override], environment={})


def test_every_built_in_source_can_be_loaded() -> None:
    """A source that can be enabled is a plug-in of that name with a quota."""
    plugins = load_plugins(CandidateConfig().sources)

    assert [plugin.name for plugin in plugins] == list(BUILT_IN)
    assert all(plugin.candidate_count > 0 for plugin in plugins)
