"""What tests share: real servers, real nodes, and waiting with a deadline."""
