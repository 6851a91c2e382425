"""Other trainers, set up as their own documentation says, under kills of their workers."""
