"""Work on code that runs none of it: inference, formatting; in a process of its own, for that may hang."""
