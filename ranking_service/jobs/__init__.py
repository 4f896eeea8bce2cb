"""The batch jobs of ranking: impressions to files, and files to a model."""
