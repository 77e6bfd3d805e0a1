"""Keys to bytes, on disk and in object stores; nothing here knows what the bytes mean."""
