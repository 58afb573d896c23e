"""Side by side with other software."""
