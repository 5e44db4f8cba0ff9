"""The log: Merkle tree, signed notes, checkpoints, tiles and proofs. Pure: values in, values out."""
