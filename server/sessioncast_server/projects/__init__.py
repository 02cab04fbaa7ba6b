"""Projects: the boundary of data, rights and ordering."""
