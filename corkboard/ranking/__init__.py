"""The wire face of ranking_service."""
