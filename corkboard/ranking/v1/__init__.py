"""Generated from protos/corkboard/ranking/v1."""
