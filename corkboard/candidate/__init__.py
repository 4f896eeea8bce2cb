"""The wire face of candidate_service."""
