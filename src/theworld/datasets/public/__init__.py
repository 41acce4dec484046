"""Public data sets as samples: read from the hub, from folders and files in the same format, and offline."""
