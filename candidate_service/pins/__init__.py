"""Telling what is known of pins."""
