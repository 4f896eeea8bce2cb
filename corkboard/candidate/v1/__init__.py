"""Generated from protos/corkboard/candidate/v1."""
