"""The wire face of profile_service."""
