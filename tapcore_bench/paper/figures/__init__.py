"""The figures of the paper, a file each: `compute` writes CSV, `plot` draws what is in it."""
