"""Read models, folded from the log and rebuilt from it at will."""
