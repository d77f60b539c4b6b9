"""What a person types: options in, a RuntimeSpec to the service room, lines out."""
