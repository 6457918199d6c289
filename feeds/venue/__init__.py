"""The embedded paper venue: another party, with its own words, its own socket and its own clock."""
