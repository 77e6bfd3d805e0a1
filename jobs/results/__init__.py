"""What a result is, how it is kept in the store, and its rows and words."""
