"""Forms in which images lie: files, class folders, shards, tables; and lists beside them."""
