"""What the server and the client must agree on: values, resources, events, positions, codes and texts."""
