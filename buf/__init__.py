"""Generated code of third parties: the annotations behind our message constraints."""
