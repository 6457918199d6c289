"""Many backtests of one strategy, one for each cell of a grid of parameters."""
