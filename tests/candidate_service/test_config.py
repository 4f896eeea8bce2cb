"""Settings that contradict each other are refused at the start, by name."""

from __future__ import annotations

import pytest

from candidate_service.config import SOURCE_NAMES, CandidateConfig
from service_runtime.config import ConfigError, load_config


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("sources=ann,magic", "unknown: magic"),
        ("sources=ann,ann", "named twice"),
        ("index_recall_target=0.5", "index_recall_min"),
        ("ann_candidate_count=2001", "2000"),
        ("index_expansion_add=64", "128"),
    ],
)
def test_contradictions_are_refused(override: str, reason: str) -> None:
    """The error names the setting and what is allowed."""
    with pytest.raises(ConfigError, match=reason):
        load_config(CandidateConfig, overrides=[override], environment={})


def test_every_source_has_a_quota() -> None:
    """A source that can be enabled can be asked."""
    assert set(CandidateConfig().quotas()) == set(SOURCE_NAMES)
