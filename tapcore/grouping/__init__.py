"""Which rows are the same: knows no machine."""
