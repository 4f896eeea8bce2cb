"""Generated from protos/corkboard/profile/v1."""
