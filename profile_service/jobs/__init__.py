"""The batch jobs of profile_service: actions out to Parquet, a generation of profiles in."""
