"""Components that every user expects. They come in as plugins do: one module a kind, one for adaptation."""
