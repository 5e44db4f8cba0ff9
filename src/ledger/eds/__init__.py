"""A citizen's electronic digital signature: CMS in, signer out."""
