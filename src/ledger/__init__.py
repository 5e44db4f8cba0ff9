"""What is true, and the proof of it."""
