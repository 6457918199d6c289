"""How a run is watched and steered."""
