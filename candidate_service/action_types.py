"""Which actions there are, and how much each says about a pin where the action does not say so."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

STRENGTHS: Final = MappingProxyType(
    {
        "save": 1.0,
        "purchase": 1.0,
        "like": 0.8,
        "share": 0.8,
        "comment": 0.7,
        "download": 0.7,
        "long_click": 0.6,
        "add_to_cart": 0.6,
        "click": 0.3,
        "close_up": 0.3,
        "view": 0.1,
        "hide": 0.0,
        "report": 0.0,
        "unsave": 0.0,
    }
)
"""Strength of each action type in [0, 1]; 0 for those that are no praise. docs/data-format.md."""
