"""What a file is made of, for every floor above: whole files, leaves, versions, strict JSON."""
