"""What the scripts share; imports nothing of the top level."""
