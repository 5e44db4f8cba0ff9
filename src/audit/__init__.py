"""The reader who trusts nobody."""
