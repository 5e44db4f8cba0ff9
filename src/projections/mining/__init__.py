"""Event logs for process mining: the appeals of one moment, as XES and as OCEL 2.0. Public facts only."""
