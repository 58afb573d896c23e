"""What several unit types share."""
