"""Microbenchmarks: ``python -m tapcore_bench.micro`` runs all and writes a table."""
