"""Which of many rows is nearest to a given one, in the largest absolute difference of any column.

Rows are tuples of (K, n_l) arrays, one a layer, of one dtype; columns are numbered through all layers. A k-d tree parts
the space by columns, since a difference of `tol` moves a projection by at most `tol` times the sum of its absolute
weights, and against that no projection spreads rows as much as the column that spreads most. Where rows differ in few
columns each, no column parts them well: then the largest deviation from a center in a block of columns does, which such
a difference cannot move by more than `tol` either.
"""
